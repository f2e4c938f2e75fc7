// Pauses, and how late each returns: a generator that is short of CPU pauses longer than it was to.

import { sleep } from 'k6';
import { Trend } from 'k6/metrics';

const lateness = new Trend('pause_lateness', true);

const SHORTEST = 0.01;
const LONGEST = 0.02;

// The mean of the short pause at the end of an iteration without think time, in seconds.
export const SHORT_PAUSE = (SHORTEST + LONGEST) / 2;

/**
 * Pauses for a whole number of milliseconds. Date.now() has no fractions of them, so one lateness
 * is right within a millisecond, never negative, and their mean is unbiased.
 *
 * @param {number} seconds
 * @param {number} [startedAt] when the pause was to start, in ms since 1970, if that is past
 */
export function pause(seconds, startedAt = Date.now()) {
  const now = Date.now();
  const milliseconds = Math.round(seconds * 1000) - (now - startedAt);
  if (milliseconds <= 0) return;
  sleep(milliseconds / 1000);
  const late = Date.now() - now - milliseconds;
  if (late >= 0) lateness.add(late); // otherwise k6 has cut it short, or the clock was set back
}

/**
 * A duration between two others, drawn at random.
 *
 * @param {number} shortest
 * @param {number} longest
 */
export function between(shortest, longest) {
  return shortest + Math.random() * (longest - shortest);
}

/**
 * Ends an iteration: for the think time, or for 10 to 20 ms, so that lateness is known in any run.
 *
 * @param {number} thinkSeconds
 * @param {number} [startedAt] as for `pause`
 */
export function pauseAfterIteration(thinkSeconds, startedAt = Date.now()) {
  pause(thinkSeconds || between(SHORTEST, LONGEST), startedAt);
}
