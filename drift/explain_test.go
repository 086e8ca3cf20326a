package drift_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

func TestExplain(t *testing.T) {
	until := now.Add(-24 * time.Hour)
	terms := drift.Terms{Now: now, Ignores: []drift.Ignore{
		{Resource: "service/*", Path: "/environment/LOG_LEVEL", Reason: "raised during incidents", Until: now.Add(time.Hour)},
		{Resource: "service/api", Path: "/environment", Reason: "too late\x1b[2J", Until: until},
		{Resource: "service/old", Path: "", Reason: "goes in May"},
	}}
	const counts = "It counts: no ignore rule covers it."
	for _, tt := range []struct {
		name          string
		desired, live string
		want          drift.Explanation
	}{
		{
			"another image", `{"service/api":{"image":"a"}}`, `{"service/api":{"image":"b"}}`,
			drift.Explanation{Side: drift.BothSides, Field: []string{"image"}, Rule: "image", Because: "the image is the program that runs", Words: []string{
				`image of service/api: desired has "a", live has "b".`,
				`It is critical by the rule "image": the image is the program that runs.`, counts,
			}},
		},
		{
			"a resource that is gone", `{"volume/db":{}}`, `{}`,
			drift.Explanation{Side: drift.OnlyDesired, Field: []string{}, Rule: "missing resource", Because: "what was asked for is not there", Words: []string{
				`volume/db: desired has it, live does not.`,
				`It is critical by the rule "missing resource": what was asked for is not there.`, counts,
			}},
		},
		{
			"a resource that nobody asked for and a rule covers", `{}`, `{"service/old":{"image":"a"}}`,
			drift.Explanation{
				Side: drift.OnlyLive, Field: []string{}, Rule: "extra resource", Because: "nobody asked for it",
				Ignore: &drift.Cover{Resource: "service/old", Reason: "goes in May"},
				Words: []string{
					`service/old: live has it, desired does not.`,
					`It is warning by the rule "extra resource": nobody asked for it.`,
					`It does not count: the ignore rule service/old: goes in May.`,
				},
			},
		},
		{
			"a variable that a rule in force covers before one that expired", `{"service/api":{"environment":{"LOG_LEVEL":"info"}}}`, `{"service/api":{"environment":{}}}`,
			drift.Explanation{
				Side: drift.OnlyDesired, Field: []string{"environment", "LOG_LEVEL"}, Rule: "environment", Because: "the program reads it when it starts",
				Ignore: &drift.Cover{Resource: "service/*", Path: "/environment/LOG_LEVEL", Reason: "raised during incidents", Until: new(now.Add(time.Hour))},
				Words: []string{
					`environment LOG_LEVEL of service/api: desired has "info", live does not have it.`,
					`It is warning by the rule "environment": the program reads it when it starts.`,
					`It does not count: the ignore rule service/* /environment/LOG_LEVEL, until 2026-11-23: raised during incidents.`,
				},
			},
		},
		{
			"a secret whose rule expired", `{"service/api":{"environment":{"A/B":"x"},"!":["/environment/A~1B"]}}`, `{"service/api":{"environment":{"A/B":"y"}}}`,
			drift.Explanation{
				Side: drift.BothSides, Field: []string{"environment", "A/B"}, Rule: "environment", Because: "the program reads it when it starts",
				Ignore: &drift.Cover{Resource: "service/api", Path: "/environment", Reason: `too late\u001B[2J`, Until: &until, Expired: true},
				Words: []string{
					`environment A/B of service/api differs between desired and live; its values are secret.`,
					`It is warning by the rule "environment": the program reads it when it starts.`,
					`It counts again: it was covered by the ignore rule service/api /environment, which expired on 2026-11-22: too late\u001B[2J.`,
				},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			changes := drift.Compare(state(t, tt.desired), state(t, tt.live), terms.Ignores, now)
			if len(changes) != 1 {
				t.Fatalf("changes: %v, want one", lines(changes))
			}
			if diff := cmp.Diff(tt.want, drift.Explain(changes[0], terms)); diff != "" {
				t.Errorf("explanation (-want +got)\n%s", diff)
			}
		})
	}
}

func TestExplainNamesTheSides(t *testing.T) {
	changes := drift.Compare(state(t, `{"service/api":{}}`), state(t, `{"service/api":{"labels":{"a":"1"}}}`), nil, now)
	got := drift.Explain(changes[0], drift.Terms{Desired: "staging", Live: "production"})
	if want := `labels of service/api: production has {"a":"1"}, staging does not have it.`; got.Words[0] != want {
		t.Errorf("got %s, want %s", got.Words[0], want)
	}
}

func TestExpired(t *testing.T) {
	past := drift.Ignore{Resource: "service/a", Until: now.Add(-1)}
	moment := drift.Ignore{Resource: "[", Until: now} // not valid, and ended all the same
	ignores := []drift.Ignore{{Resource: "service/a"}, past, {Resource: "service/a", Until: now.Add(1)}, moment}
	if diff := cmp.Diff([]drift.Ignore{past, moment}, drift.Expired(ignores, now)); diff != "" {
		t.Errorf("expired (-want +got)\n%s", diff)
	}
	if got := drift.Expired(ignores[:1], now); got != nil {
		t.Errorf("a rule without an end expired: %v", got)
	}
}

func TestUnused(t *testing.T) {
	changes := drift.Compare(
		state(t, `{"service/a":{"image":"a","labels":{"x":"1"}},"service/b":{"image":"b"}}`),
		state(t, `{"service/a":{"image":"b","labels":{"x":"2"}}}`), nil, now)
	covers := []drift.Ignore{{Resource: "service/*", Path: "/labels/*"}, {Resource: "service/b"}, {Resource: "service/a", Path: "/image"}}
	covers = append(covers, covers[0]) // the second of two that cover the same is used as well
	nothing := []drift.Ignore{{Resource: "service/b", Path: "/image"}, {Resource: "service/a", Path: "/labels/y"}, {Resource: "[", Path: ""}, {Resource: "service/a", Path: "image"}}
	expired := []drift.Ignore{{Resource: "service/c", Until: now}}
	if diff := cmp.Diff(nothing, drift.Unused(append(append(expired, covers...), nothing...), changes, now)); diff != "" {
		t.Errorf("unused (-want +got)\n%s", diff)
	}
	if got := drift.Unused(covers, changes, now); got != nil {
		t.Errorf("unused: %v", got)
	}
	if diff := cmp.Diff(covers, drift.Unused(covers, []stella.Change{}, now)); diff != "" {
		t.Errorf("nothing differs, so that every rule is unused (-want +got)\n%s", diff)
	}
}
