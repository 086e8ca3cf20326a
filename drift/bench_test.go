package drift_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// manyResources is like a large environment: n services of ordinary size, with
// a secret each. Nothing is shared with another call's, strings included, as
// nothing is between what was rendered and what was observed. Of every hundred
// resources the first changed differ from those of a call with none: in their
// image, their command or their environment.
func manyResources(n, changed int) stella.State {
	s := stella.State{Resources: make([]stella.Resource, n)}
	for i := range s.Resources {
		is := func(text string) string { return strings.Clone(text) }
		image, level, port := "registry.example.com/shop/api:2.4.0@sha256:"+strings.Repeat("4b", 32), "info", "8080"
		if i%100 < changed {
			switch i / 100 % 3 {
			case 0:
				image = "registry.example.com/shop/api:2.4.1@sha256:" + strings.Repeat("4c", 32)
			case 1:
				level = "debug"
			default:
				port = "8081"
			}
		}
		s.Resources[i] = stella.Resource{
			ID: stella.ResourceID(fmt.Sprintf("service/s%06d", i)),
			Fields: map[string]any{
				"image":       is(image),
				"command":     []any{is("/app"), is("serve"), is("--port"), is(port)},
				"environment": map[string]any{"LOG_LEVEL": is(level), "PORT": is("8080"), "DATABASE": is("db:5432"), "REGION": is("eu-west-1"), "PASSWORD": is("correct horse")},
				"labels":      map[string]any{"team": is("shop"), "tier": is("backend")},
				"ports":       []any{map[string]any{"target": 8080.0, "published": is("8080"), "protocol": is("tcp"), "hostIP": is("")}},
				"restart":     is("unless-stopped"),
				"user":        is("app"),
			},
			Secrets: []string{"/environment/PASSWORD"},
		}
	}
	return s
}

// The aim is 100,000 resources in less than 200 ms on one core, with none and
// with one in a hundred changed.
func BenchmarkCompare(b *testing.B) {
	ignores := []drift.Ignore{{Resource: "service/*", Path: "/labels/*"}, {Resource: "service/s0000*", Path: "/image", Reason: "r"}}
	for _, n := range []int{10, 1_000, 100_000} {
		desired := manyResources(n, 0)
		for name, changed := range map[string]int{"none": 0, "1in100": 1, "all": 100} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				live := manyResources(n, changed)
				b.ReportAllocs()
				for b.Loop() {
					if got := drift.Compare(desired, live, ignores, now); len(got) != (n*changed+99)/100 {
						b.Fatal(len(got))
					}
				}
			})
		}
	}
}
