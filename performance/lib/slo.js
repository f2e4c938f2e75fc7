// The SLO of slo.json as k6 thresholds.

// k6 escapes characters of the folder's name here, such as #, but open() expects them as they are.
const FILE = decodeURIComponent(import.meta.resolve('../slo.json').replace('file://', ''));
const SLO = JSON.parse(open(FILE));

/**
 * @param {string} profile
 * @param {string[]} operations
 */
export function thresholds(profile, operations) {
  const { errors, each_operation: override, abort_on_failure: abort } = SLO.profiles[profile];
  // Requests before and after the load belong to no scenario, so no threshold covers them.
  const limits = [limitsOf(`scenario:${profile}`, SLO.every_request)];
  for (const operation of operations) {
    limits.push(limitsOf(`name:${operation}`, { ...SLO.operations[operation], ...override }));
  }
  if (errors) limits.push([['errors', `count<${errors}`]]);
  return Object.fromEntries(
    limits
      .flat()
      .map(([metric, threshold]) => [
        metric,
        [abort ? { threshold, abortOnFail: true, delayAbortEval: '10s' } : threshold],
      ]),
  );
}

/**
 * @param {string} requests a tag and its value
 * @param {{ p95_ms: number, failed_share: number }} slo
 */
function limitsOf(requests, slo) {
  return [
    [`http_req_duration{${requests}}`, `p(95)<${slo.p95_ms}`],
    [`http_req_failed{${requests}}`, `rate<${slo.failed_share}`],
  ];
}
