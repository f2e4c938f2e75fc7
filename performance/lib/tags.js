// The tags that the caller gives to a run: by --tag, by K6_TAGS, or in k6's configuration.

import exec from 'k6/execution';

import { SETTINGS } from './settings.js';

// Labels that k6, the script or Prometheus set.
const RESERVED =
  'check error_code expected_response group instance journey kind metric name operation profile ' +
  'result scenario status testid threshold title';

/**
 * Stops the test if a tag would replace a label of the run's own metrics.
 *
 * @returns {Record<string, string>}
 */
export function givenTags() {
  const given = Object.entries(exec.test.options.tags ?? {}).filter(
    // k6 adds tags for its features.
    ([name]) => !(name in SETTINGS.tags) && !name.startsWith('k6_'),
  );
  const reserved = given.map(([name]) => name).find(isReserved);
  if (reserved) {
    exec.test.abort(
      `The tag ${reserved} is a label of the run's own metrics: choose another name. ` +
        'No load was sent.',
    );
  }
  return Object.fromEntries(given);
}

/** @param {string} name */
function isReserved(name) {
  return RESERVED.split(' ').includes(name) || name.startsWith('__');
}
