// Prometheus's remote-write 1.0, of a few samples: a protobuf WriteRequest in a snappy block.

// Series are pairs of labels, `__name__` among them, and a value; all have one time, in ms.
export function writeRequest(series, time) {
  return snappy(series.flatMap(([labels, value]) => field(1, timeSeries(labels, value, time))))
    .buffer;
}

function timeSeries(labels, value, time) {
  const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return [
    ...sorted.flatMap(([name, said]) =>
      field(1, [...field(1, utf8(name)), ...field(2, utf8(said))]),
    ),
    ...field(2, [0x09, ...double(value), 0x10, ...varint(time)]),
  ];
}

function field(number, bytes) {
  return [(number << 3) | 2, ...varint(bytes.length), ...bytes];
}

// Times are beyond the 32 bits that the bit operators take.
function varint(number) {
  const bytes = [];
  for (let rest = number; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 128);
  }
}

function double(number) {
  return new Uint8Array(new Float64Array([number]).buffer);
}

function utf8(text) {
  return new TextEncoder().encode(text);
}

// A block may be all literals: what is sent is some kilobytes, once.
function snappy(bytes) {
  const block = varint(bytes.length);
  for (let at = 0; at < bytes.length; at += 60) {
    const literal = bytes.slice(at, at + 60);
    block.push((literal.length - 1) << 2, ...literal);
  }
  return new Uint8Array(block);
}
