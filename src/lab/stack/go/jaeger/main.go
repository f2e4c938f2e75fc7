// Jaeger with the components that observability/jaeger/jaeger.yaml names. Without the others, such as Kafka, AWS and
// tail sampling, and without the Elasticsearch client (see elasticsearch), it compiles in less than half the time.
//
// Components are internal to Jaeger's folder cmd/jaeger; that is why the path of this module is in it.
package main

import (
	"log"

	"github.com/open-telemetry/opentelemetry-collector-contrib/connector/spanmetricsconnector"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/basicauthextension"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/healthcheckv2extension"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/batchprocessor"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry/otelconftelemetry"

	"github.com/jaegertracing/jaeger/cmd/jaeger/internal/exporters/storageexporter"
	"github.com/jaegertracing/jaeger/cmd/jaeger/internal/extension/jaegerquery"
	"github.com/jaegertracing/jaeger/cmd/jaeger/internal/extension/jaegerstorage"
	"github.com/jaegertracing/jaeger/internal/version"
)

type typed interface{ Type() component.Type }

func byType[F typed](factories ...F) map[component.Type]F {
	all := map[component.Type]F{}
	for _, factory := range factories {
		all[factory.Type()] = factory
	}
	return all
}

func components() (otelcol.Factories, error) {
	return otelcol.Factories{
		Receivers:  byType[receiver.Factory](otlpreceiver.NewFactory()),
		Processors: byType[processor.Factory](batchprocessor.NewFactory()),
		Connectors: byType[connector.Factory](spanmetricsconnector.NewFactory()),
		Exporters: byType[exporter.Factory](
			otlphttpexporter.NewFactory(),
			storageexporter.NewFactory(),
		),
		Extensions: byType[extension.Factory](
			basicauthextension.NewFactory(),
			healthcheckv2extension.NewFactory(),
			jaegerquery.NewFactory(),
			jaegerstorage.NewFactory(),
		),
		Telemetry: otelconftelemetry.NewFactory(),
	}, nil
}

func main() {
	command := otelcol.NewCommand(otelcol.CollectorSettings{
		BuildInfo: component.BuildInfo{Command: "jaeger", Version: version.Get().GitVersion},
		Factories: components,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{
			ResolverSettings: confmap.ResolverSettings{
				ProviderFactories: []confmap.ProviderFactory{
					envprovider.NewFactory(),
					fileprovider.NewFactory(),
				},
			},
		},
	})
	command.AddCommand(version.Command())
	if err := command.Execute(); err != nil {
		log.Fatal(err)
	}
}
