package drift_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

func TestSeverity(t *testing.T) {
	for _, tt := range []struct {
		severity stella.Severity
		rule     string
		resource string
		fields   string // each of them with the value "x" against "y", separated by spaces
	}{
		{stella.SeverityCritical, "image", "service/api", "image"},
		{stella.SeverityCritical, "command", "service/api", "command entrypoint post_start pre_stop"},
		{stella.SeverityCritical, "rights", "service/api", "user privileged cap_add security_opt devices network_mode pid"},
		{stella.SeverityWarning, "environment", "service/api", "environment"},
		{stella.SeverityWarning, "configuration", "service/api", "configs secrets"},
		{stella.SeverityWarning, "storage", "service/api", "volumes tmpfs storage_opt"},
		{stella.SeverityWarning, "network", "service/api", "ports networks domainname dns_search mac_address"},
		{stella.SeverityWarning, "operation", "service/api", "restart healthcheck stopSignal stopGracePeriodSeconds workingDir dependsOn x-stella memswap_limit cpuset blkio_config oom_score_adj"},
		{stella.SeverityInfo, "labels", "service/api", "labels annotations"},
		{stella.SeverityInfo, "labels", "volume/db", "labels"},
		{stella.SeverityWarning, "field", "volume/db", "name driver driver_opts"},
		{stella.SeverityWarning, "field", "volume/db", "image command user environment"}, // those of a service mean nothing here
		{stella.SeverityWarning, "field", "service/api", "expose_nothing - "},            // what nobody thought of, and what looks like a whole resource
	} {
		for field := range strings.FieldsSeq(tt.fields) {
			// At every depth and in every class a field is what its first segment is.
			for _, values := range [][2]any{
				{"x", "y"},
				{"x", nil},
				{map[string]any{"image": "x"}, map[string]any{"image": "y"}},
				{[]any{"x"}, []any{"y"}},
				{map[string]any{"labels": "x"}, map[string]any{}},
			} {
				c := oneChange(t, tt.resource, map[string]any{field: values[0]}, map[string]any{field: values[1]})
				if x := drift.Explain(c, drift.Terms{}); c.Severity != tt.severity || x.Rule != tt.rule {
					t.Errorf("%s%s: %s by %q, want %s by %q", c.Resource, c.Path, c.Severity, x.Rule, tt.severity, tt.rule)
				}
			}
			there := map[string]any{field: "x"}
			for _, c := range []stella.Change{oneChange(t, tt.resource, there, map[string]any{}), oneChange(t, tt.resource, map[string]any{}, there)} {
				if c.Severity != tt.severity {
					t.Errorf("%s %s%s: %s, want %s", c.Class, c.Resource, c.Path, c.Severity, tt.severity)
				}
			}
		}
	}
}

func TestSeverityOfAWholeResource(t *testing.T) {
	there := state(t, `{"service/api":{"labels":{}},"volume/db":{},"network/in":{}}`)
	for _, c := range drift.Compare(there, stella.State{}, nil, now) {
		if c.Severity != stella.SeverityCritical {
			t.Errorf("%s is missing: %s", c.Resource, c.Severity)
		}
	}
	for _, c := range drift.Compare(stella.State{}, there, nil, now) {
		if c.Severity != stella.SeverityWarning {
			t.Errorf("%s is extra: %s", c.Resource, c.Severity)
		}
	}
}

func oneChange(t *testing.T, id string, desired, live map[string]any) stella.Change {
	t.Helper()
	one := func(fields map[string]any) stella.State {
		return stella.State{Resources: []stella.Resource{{ID: stella.ResourceID(id), Fields: fields}}}
	}
	changes := drift.Compare(one(desired), one(live), nil, now)
	if len(changes) != 1 {
		t.Fatalf("changes: %v, want one", lines(changes))
	}
	return changes[0]
}

// A release is its digests. What runs is the same under any name, so that
// another name is shown, and neither counts nor moves anything.
func TestAnotherNameOfTheSameDigestDoesNotCount(t *testing.T) {
	const digest, other = "@sha256:" + "4be1c0ffee4be1c0ffee4be1c0ffee4be1c0ffee4be1c0ffee4be1c0ffee4be1", "@sha256:" + "5be1c0ffee4be1c0ffee4be1c0ffee4be1c0ffee4be1c0ffee4be1c0ffee4be1"
	const image = "registry.example.com/shop/api:2.3.0" + digest
	for _, tt := range []struct {
		name string
		live any
		same bool
	}{
		{"another tag", "registry.example.com/shop/api:2.3.1" + digest, true},
		{"no tag", "registry.example.com/shop/api" + digest, true},
		{"another registry", "mirror.example.com/api:2.3.0" + digest, true},
		{"another digest by the same tag", "registry.example.com/shop/api:2.3.0" + other, false},
		{"no digest", "registry.example.com/shop/api:2.3.0", false},
		{"what a target says of files that were changed", image + " (changed on disk)", false},
		{"what is no image", "x" + digest, false},
		{"what is no text", 1.0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := oneChange(t, "service/api", map[string]any{"image": image}, map[string]any{"image": tt.live})
			x := drift.Explain(c, drift.Terms{})
			if c.Ignored != tt.same || (c.Severity == stella.SeverityInfo) != tt.same || drift.Drifted([]stella.Change{c}) == tt.same {
				text, _ := json.Marshal(c)
				t.Errorf("change %s", text)
			}
			if tt.same && (x.Rule != "same digest" || x.Ignore == nil || !x.Ignore.BuiltIn || c.Reason == "") {
				t.Errorf("explanation %+v", x)
			}
			if !tt.same && (x.Rule != "image" || x.Ignore != nil) {
				t.Errorf("explanation %+v", x)
			}
		})
	}
	below := oneChange(t, "service/api", map[string]any{"image": map[string]any{"x": image}}, map[string]any{"image": map[string]any{"x": "mirror.example.com/api" + digest}})
	if below.Ignored {
		t.Error("what is below an image is no image")
	}
	elsewhere := oneChange(t, "volume/api", map[string]any{"image": image}, map[string]any{"image": "registry.example.com/shop/api:2.3.1" + digest})
	if elsewhere.Ignored {
		t.Error("a volume's field of that name is not what runs")
	}
}
