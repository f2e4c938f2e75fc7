#!/bin/sh
# Print the folder and the dashboards as resources of the Grafana Operator, from the committed files:
#
#   sh deploy/grafana/operator.sh | kubectl apply --server-side --filename -
#
# The labels are those of your Grafana resource. Dashboards are compressed, as the largest is larger than a ConfigMap
# may be.
set -eu
label=${1:-"dashboards: grafana"}
cd "$(dirname "$0")/../../observability/grafana/dashboards"

cat << END
apiVersion: grafana.integreatly.org/v1beta1
kind: GrafanaFolder
metadata:
  name: vet-clinic
spec:
  uid: vet-clinic
  title: Vet clinic
  instanceSelector:
    matchLabels:
      $label
END
for file in *.json; do
    cat << END
---
apiVersion: grafana.integreatly.org/v1beta1
kind: GrafanaDashboard
metadata:
  name: ${file%.json}
spec:
  folderRef: vet-clinic
  instanceSelector:
    matchLabels:
      $label
  gzipJson: $(gzip -c "$file" | base64 | tr -d '\n')
END
done
