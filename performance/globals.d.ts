// What k6 has of the browser's globals, as far as the scripts use it.
declare const console: { log(text: string): void; warn(text: string): void };
declare const crypto: { getRandomValues(bytes: Uint8Array): Uint8Array };
declare class TextEncoder {
    encode(text: string): Uint8Array;
}
