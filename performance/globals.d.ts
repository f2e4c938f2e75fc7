// The browser globals that k6 provides and the scripts use; @types/k6 has only k6's own.
declare const console: { log(text: string): void; warn(text: string): void };
declare const crypto: { getRandomValues(bytes: Uint8Array): Uint8Array };
declare class TextEncoder {
  encode(text: string): Uint8Array;
}
