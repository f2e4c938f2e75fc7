// The objective of slo.json as k6's thresholds.

const SLO = JSON.parse(open(import.meta.resolve('../slo.json')));

// Requests before and after the load belong to no scenario, and are not judged.
export function thresholds(profile, operations) {
  const { errors, each_operation: instead, stop_when_crossed: stop } = SLO.profiles[profile];
  const limits = {
    ...limitsOn(`scenario:${profile}`, SLO.every_request, stop),
    ...(errors && { errors: [`count<${errors}`] }),
  };
  for (const operation of operations) {
    Object.assign(
      limits,
      limitsOn(`name:${operation}`, { ...SLO.operations[operation], ...instead }, stop),
    );
  }
  return limits;
}

function limitsOn(requests, objective, stop) {
  return {
    [`http_req_duration{${requests}}`]: [limit(`p(95)<${objective.p95_ms}`, stop)],
    [`http_req_failed{${requests}}`]: [limit(`rate<${objective.failed_share}`, stop)],
  };
}

function limit(threshold, stop) {
  return stop ? { threshold, abortOnFail: true, delayAbortEval: '10s' } : threshold;
}
