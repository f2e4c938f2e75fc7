// The part of the load that this generator makes: its execution segment, such as 1/4:1/2 of
// 0,1/4,1/2,3/4,1.

/**
 * @param {string | null} [sequence] where the segments begin and end
 * @returns {number} of generators that the load is divided among
 */
export function segmentCount(sequence) {
  return sequence ? sequence.split(',').length - 1 : 1;
}

/**
 * @param {string | null} [segment]
 * @returns {number} the share of the load, 0 to 1
 */
export function segmentShare(segment) {
  if (!segment) return 1;
  const [from, to] = segment.split(':').map(fraction);
  return to - from;
}

/** @param {string} text such as `1/4` */
function fraction(text) {
  const [part, whole = 1] = text.split('/').map(Number);
  return part / whole;
}
