// What k6's summary alone has: the exact extremes of durations, and the number of each check's results.

/**
 * @typedef {object} Summary
 * @property {Record<string, { values?: Record<string, number> }>} metrics
 * @property {{ checks: { name: string, passes: number, fails: number }[] }} [root_group]
 */

/**
 * @typedef {object} Sample
 * @property {string} metric without the prefix of the run's own metrics
 * @property {number} value
 * @property {Record<string, string>} tags those that tell it from others of the metric
 */

/**
 * @param {Summary} summary
 * @returns {Sample[]}
 */
export function summarySamples({ metrics, root_group: group }) {
  return [
    ...Object.entries(metrics).flatMap(([metric, { values }]) => extremes(metric, values)),
    ...(group ? group.checks.flatMap(results) : []),
  ];
}

/**
 * The shortest and the longest request of an operation, in seconds; k6 has them where a threshold
 * selects it. Without requests both are zero.
 *
 * @param {string} metric
 * @param {Record<string, number>} [values]
 * @returns {Sample[]}
 */
function extremes(metric, values) {
  const [, name] = /^http_req_duration{name:(.*)}$/.exec(metric) || [];
  if (!name || !values || !values.max) return [];
  return ['min', 'max'].map((stat) => ({
    metric: `request_${stat}_seconds`,
    value: values[stat] / 1000,
    tags: { name },
  }));
}

/**
 * @param {{ name: string, passes: number, fails: number }} check
 * @returns {Sample[]}
 */
function results({ name: check, passes, fails }) {
  return Object.entries({ passed: passes, failed: fails }).map(([result, value]) => ({
    metric: 'checks',
    value,
    tags: { check, result },
  }));
}
