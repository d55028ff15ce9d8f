package main

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"ponix/runtime/config"
)

// exportTraces sends spans by OTLP over gRPC, where one of OpenTelemetry's own variables
// says where to: OTEL_EXPORTER_OTLP_ENDPOINT and those beside it, OTEL_TRACES_SAMPLER,
// OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES mean what they mean to every program
// (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
// stop sends what is left, within five seconds.
func exportTraces(e *env) (stop func(), err error) {
	endpoint, variable := otlp("ENDPOINT")
	if endpoint == "" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return func() {}, nil
	}
	to, err := url.Parse(endpoint)
	if err != nil || to.Host == "" { // the exporter would send to localhost:4317, or to nobody
		return nil, &config.Error{Variable: variable, Cause: errors.New("is no URL: http://host:port is in the clear, https://host:port by TLS")}
	}
	if p, variable := otlp("PROTOCOL"); p != "" && p != "grpc" {
		return nil, &config.Error{Variable: variable, Cause: errors.New("is " + p + ", and Ponix exports by grpc alone, to the collector's port 4317 as a rule")}
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { e.log.Warn("traces", "error", err) }))
	exporter, err := otlptracegrpc.New(e.ctx)
	if err != nil {
		return nil, &config.Error{Variable: variable, Cause: err}
	}
	about, err := resource.New(e.ctx,
		resource.WithAttributes(attribute.String("service.name", "ponix"), attribute.String("service.version", version)),
		resource.WithHost(), resource.WithProcessPID(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, &config.Error{Variable: "OTEL_RESOURCE_ATTRIBUTES", Cause: err}
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
	otel.SetTracerProvider(provider)
	e.log.Info("exporting traces", "endpoint", to.Redacted())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			e.log.Warn("traces that were left are lost", "error", err)
		}
	}, nil
}

// otlp is what one of the exporter's variables says, and which does: that for traces, or
// that for all signals.
func otlp(what string) (value, variable string) {
	for _, variable = range []string{"OTEL_EXPORTER_OTLP_TRACES_" + what, "OTEL_EXPORTER_OTLP_" + what} {
		if value = strings.TrimSpace(os.Getenv(variable)); value != "" {
			break
		}
	}
	return value, variable
}
