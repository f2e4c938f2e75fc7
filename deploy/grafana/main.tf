# The dashboards by Terraform, from the committed files. GRAFANA_URL and GRAFANA_AUTH (a service account's token) are
# variables of the environment:
#
#   terraform -chdir=deploy/grafana init
#   terraform -chdir=deploy/grafana apply
terraform {
  required_providers {
    grafana = {
      source  = "grafana/grafana"
      version = "~> 4.0"
    }
  }
}

locals {
  dashboards = "${path.module}/../../observability/grafana/dashboards"
}

resource "grafana_folder" "clinic" {
  uid   = "vet-clinic"
  title = "Vet clinic"
}

resource "grafana_dashboard" "clinic" {
  for_each    = fileset(local.dashboards, "*.json")
  folder      = grafana_folder.clinic.uid
  config_json = file("${local.dashboards}/${each.key}")
  overwrite   = true
}
