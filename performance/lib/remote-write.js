// Prometheus remote write 1.0 by hand, because the verdict must reach Prometheus and Grafana Cloud
// installations that offer no other receiver, and k6 evaluates the thresholds only after its own
// outputs have closed. A request is a protobuf WriteRequest in a snappy block.

/**
 * @typedef {{ labels: Record<string, string>, value: number }} Sample `__name__` is a label
 */

/**
 * @param {Sample[]} samples
 * @param {number} time of all samples, in ms since 1970
 */
export function encodeWriteRequest(samples, time) {
  return snappyBlock(samples.flatMap((sample) => lengthDelimited(1, timeSeries(sample, time))));
}

/**
 * @param {Sample} sample
 * @param {number} time
 */
function timeSeries({ labels, value }, time) {
  const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return [
    ...sorted.flatMap((label) =>
      lengthDelimited(
        1,
        label.flatMap((text, i) => lengthDelimited(i + 1, utf8(text))),
      ),
    ),
    ...lengthDelimited(2, [0x09, ...double(value), 0x10, ...varint(time)]),
  ];
}

/**
 * @param {number} field
 * @param {number[]} bytes
 */
function lengthDelimited(field, bytes) {
  return [(field << 3) | 2, ...varint(bytes.length), ...bytes];
}

/** @param {number} number */
function varint(number) {
  const bytes = [];
  // Division, not shifts: a time in ms does not fit the 32 bits of JavaScript's bit operators.
  for (let rest = number; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 128);
  }
}

/** @param {number} number */
function double(number) {
  return new Uint8Array(new Float64Array([number]).buffer);
}

/** @param {string} text */
function utf8(text) {
  return Array.from(new TextEncoder().encode(text));
}

/**
 * Literals only, which is a valid snappy block: a few kilobytes once per run need no compression.
 *
 * @param {number[]} bytes
 */
function snappyBlock(bytes) {
  const block = varint(bytes.length);
  for (let start = 0; start < bytes.length; start += 60) {
    const literal = bytes.slice(start, start + 60);
    block.push((literal.length - 1) << 2, ...literal);
  }
  return new Uint8Array(block);
}
