package runtime

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// MetricsHandler serves the counters that also stand in $SRV.STATS, and those of
// the process, in Prometheus' text format.
func (h *Host) MetricsHandler() http.Handler { return metricsHandler(hostCollector{h}) }

// ProcessMetrics serves those of the process alone.
func ProcessMetrics() http.Handler { return metricsHandler() }

func metricsHandler(more ...prometheus.Collector) http.Handler {
	r := prometheus.NewRegistry()
	r.MustRegister(append(more, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))...)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// hostCollector reads the counters when it is asked: they are kept once.
type hostCollector struct{ h *Host }

func (hostCollector) Describe(chan<- *prometheus.Desc) {}

func (c hostCollector) Collect(out chan<- prometheus.Metric) {
	for _, b := range c.h.bindings {
		n := &b.counters
		for _, m := range []struct {
			name, help string
			kind       prometheus.ValueType
			value      float64
		}{
			{"ponix_handled_total", "Requests and messages handled.", prometheus.CounterValue, float64(n.requests.Load())},
			{"ponix_errors_total", "Those of them that failed.", prometheus.CounterValue, float64(n.failures.Load())},
			{"ponix_handling_seconds_total", "Time spent handling.", prometheus.CounterValue, float64(n.nanoseconds.Load()) / 1e9},
			{"ponix_in_flight", "Requests and messages being handled.", prometheus.GaugeValue, float64(n.inFlight.Load())},
			{"ponix_retried_total", "Messages given back for redelivery.", prometheus.CounterValue, float64(n.retried.Load())},
			{"ponix_dead_letters_total", "Messages given up.", prometheus.CounterValue, float64(n.deadLetters.Load())},
		} {
			desc := prometheus.NewDesc(m.name, m.help, []string{"function", "binding"}, nil)
			out <- prometheus.MustNewConstMetric(desc, m.kind, m.value, b.function, b.name)
		}
	}
	for _, b := range c.h.bindings {
		for name, v := range b.counters.readGauges() {
			desc := prometheus.NewDesc("ponix_"+strings.ReplaceAll(b.function, "-", "_")+"_"+name, "What "+b.function+" tells of itself.", []string{"binding"}, nil)
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, b.name)
		}
	}
	c.h.full.Range(func(stream, part any) bool {
		desc := prometheus.NewDesc("ponix_stream_full_ratio", "Bytes of a stream, as a part of what it may hold; at 1 it refuses messages.", []string{"stream"}, nil)
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, part.(float64), stream.(string))
		return true
	})
	c.h.pending.Range(func(key, n any) bool {
		of := key.(consumerKey)
		desc := prometheus.NewDesc("ponix_consumer_pending", "Messages of a stream that a consumer has not settled: those that wait, and those that are being worked on.", []string{"stream", "consumer"}, nil)
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n.(uint64)), of.stream, of.consumer)
		return true
	})
}
