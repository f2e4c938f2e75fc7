// What k6 runs in place of the profile's scenario if its own options say so: --vus, --duration,
// --iterations, --stage, or K6_VUS and the like.

import { inWords } from './profiles.js';

// The profile of such a run.
export const CUSTOM = 'custom';

/** @type {Record<string, number>} */
const UNITS = { h: 3600, m: 60, s: 1, ms: 0.001, us: 1e-6, µs: 1e-6, ns: 1e-9 };

/**
 * @typedef {object} Load
 * @property {number} [seconds] the planned length
 * @property {number} [iterations] in its place: k6 stops when they are done
 * @property {string} description
 */

/**
 * @param {Record<string, any>} scenarios of `exec.test.options`, in k6's notation
 * @returns {Load}
 */
export function customLoad(scenarios) {
  const loads = Object.values(scenarios).map(loadOf);
  const seconds = loads.map((load) => load.seconds);
  const iterations = loads.map((load) => load.iterations);
  return {
    ...(seconds.every(isNumber) && { seconds: Math.max(...seconds) }),
    ...(iterations.every(isNumber) && { iterations: iterations.reduce((a, b) => a + b, 0) }),
    description: loads.map(({ description }) => description).join(' and '),
  };
}

/**
 * @param {any} scenario
 * @returns {Load}
 */
function loadOf({ executor, vus, duration, iterations, startVUs, stages }) {
  const users = counted(vus ?? 1, 'virtual user');
  if (executor === 'shared-iterations' || executor === 'per-vu-iterations') {
    const total = (iterations ?? 1) * (executor === 'per-vu-iterations' ? (vus ?? 1) : 1);
    return { iterations: total, description: `${counted(total, 'iteration')} by ${users}` };
  }
  if (executor === 'constant-vus') {
    const seconds = toSeconds(duration);
    return { seconds, description: `${users} for ${inWords(seconds)}` };
  }
  if (executor === 'ramping-vus') {
    const seconds = stages.reduce(
      (/** @type {number} */ sum, /** @type {any} */ stage) => sum + toSeconds(stage.duration),
      0,
    );
    const targets = stages.map((/** @type {any} */ { target }) => target);
    const levels = [startVUs ?? 1, ...targets].filter((level, i, all) => level !== all[i - 1]);
    return { seconds, description: `${levels.join(', ')} virtual users for ${inWords(seconds)}` };
  }
  return { description: `the executor ${executor}` };
}

/** @param {string} duration such as `1m30s` */
function toSeconds(duration) {
  return Array.from(duration.matchAll(/([\d.]+)(h|ms|m|s|us|µs|ns)/g)).reduce(
    (sum, [, number, unit]) => sum + Number(number) * UNITS[unit],
    0,
  );
}

/**
 * @param {number} number
 * @param {string} noun
 */
function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/**
 * @param {number | undefined} value
 * @returns {value is number}
 */
function isNumber(value) {
  return value !== undefined;
}
