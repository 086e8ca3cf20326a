package configrepo

import (
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/strictyaml"
)

type rolloutFields struct {
	strategy string
	batch    batchSize
	pause    time.Duration
	failure  OnFailure
	order    UpdateOrder
	keep     bool
}

type batchSize struct{ count, percent int }

func defaultRollout() Rollout {
	return Rollout{OnFailure: OnFailureRollback, UpdateOrder: StopFirst, KeepPrevious: true}
}

const (
	strategyAll     = "all-at-once"
	strategyRolling = "rolling"
)

func rolloutShape() strictyaml.Shape[Rollout] {
	shape := strictyaml.Object(rolloutFields{failure: OnFailureRollback, order: StopFirst, keep: true},
		strictyaml.Optional("strategy", "All targets at once, or batch after batch. Default: all-at-once.",
			strictyaml.Enum(strategyAll, strategyRolling), func(f *rolloutFields) *string { return &f.strategy }),
		strictyaml.Optional("batch", "How many targets at a time: a count, or a percentage of all. Default: 1.", batchShape(),
			func(f *rolloutFields) *batchSize { return &f.batch }),
		strictyaml.Optional("pause", "How long to wait between batches. Default: not at all.", strictyaml.Duration(0, 24*time.Hour),
			func(f *rolloutFields) *time.Duration { return &f.pause }),
		strictyaml.Optional("onFailure", "What follows a failed verification. Default: rollback.",
			strictyaml.Enum(OnFailureRollback, OnFailurePause, OnFailureContinue), func(f *rolloutFields) *OnFailure { return &f.failure }),
		strictyaml.Optional("updateOrder", "Whether a container stops before its successor starts, or after that was healthy where ports and volumes allow it. Default: stop-first.",
			strictyaml.Enum(StopFirst, StartFirst), func(f *rolloutFields) *UpdateOrder { return &f.order }),
		strictyaml.Optional("keepPrevious", "Replaced containers are kept, stopped, so that going back is a start and no pull. Default: true.",
			strictyaml.Bool(), func(f *rolloutFields) *bool { return &f.keep }),
	).Check(checkRolling)
	return strictyaml.Convert(shape, func(_ strictyaml.Value, f rolloutFields) (Rollout, bool) {
		r := Rollout{
			Rolling: f.strategy == strategyRolling, BatchCount: f.batch.count, BatchPercent: f.batch.percent,
			Pause: f.pause, OnFailure: f.failure, UpdateOrder: f.order, KeepPrevious: f.keep,
		}
		if r.Rolling && r.BatchPercent == 0 && r.BatchCount == 0 {
			r.BatchCount = 1
		}
		return r, true
	})
}

func checkRolling(v strictyaml.Value, f *rolloutFields) {
	if f.strategy == strategyRolling || f.strategy == "" && v.Has("strategy") {
		return // as it should be, or reported already
	}
	for _, name := range []string{"batch", "pause"} {
		if v.Has(name) {
			v.At(name).Problem("has no effect", "add strategy: rolling, or remove it")
		}
	}
}

var percentRE = regexp.MustCompile(`^([1-9][0-9]?|100)%$`)

func batchShape() strictyaml.Shape[batchSize] {
	count := strictyaml.Convert(strictyaml.Whole(1, 10_000),
		func(_ strictyaml.Value, n int) (batchSize, bool) { return batchSize{count: n}, true })
	percent := strictyaml.Convert(
		strictyaml.Text(strictyaml.TextRule{Pattern: percentRE, What: "is not a percentage", Want: "want a percentage from 1% to 100%", Most: 4}),
		func(_ strictyaml.Value, s string) (batchSize, bool) {
			n, err := strconv.Atoi(strings.TrimSuffix(s, "%"))
			return batchSize{percent: n}, err == nil
		})
	return strictyaml.Either(count, percent)
}

func driftShape(is stella.EnvName) strictyaml.Shape[DriftPolicy] {
	return strictyaml.Object(DriftPolicy{Mode: DriftReport},
		strictyaml.Optional("schedule", "When to look, as in cron and in UTC. Default: only when asked.", scheduleShape(),
			func(d *DriftPolicy) *string { return &d.Schedule }),
		strictyaml.Optional("mode", "Whether to look, and whether to correct. Default: report.",
			strictyaml.Enum(DriftOff, DriftReport, DriftHeal), func(d *DriftPolicy) *string { return &d.Mode }),
		strictyaml.Optional("ignore", "Differences that do not count.", strictyaml.List(ignoreShape(), 0, 1000),
			func(d *DriftPolicy) *[]drift.Ignore { return &d.Ignore }),
		strictyaml.Optional("intended", "How this environment differs from another on purpose: for 'config diff --with'.",
			strictyaml.List(intendedShape(is), 0, 1000), func(d *DriftPolicy) *[]Intended { return &d.Intended }))
}

func scheduleShape() strictyaml.Shape[string] {
	return strictyaml.Line(100).Check(func(v strictyaml.Value, s *string) {
		if _, err := drift.ParseSchedule(*s); err != nil {
			v.Problem(err.Error(), `want five fields such as "*/5 * * * *", or @hourly`)
		}
	})
}

func ignoreShape() strictyaml.Shape[drift.Ignore] {
	return ruleShape(func(i *drift.Ignore) *drift.Ignore { return i })
}

// intendedShape is a rule as an ignore rule is, that holds between two
// environments.
func intendedShape(is stella.EnvName) strictyaml.Shape[Intended] {
	with := envNameShape("", "").Check(func(v strictyaml.Value, s *stella.EnvName) {
		if is != "" && *s == is {
			v.Problem("is this environment itself", "name the other one")
		}
	})
	return ruleShape(func(i *Intended) *drift.Ignore { return &i.Ignore },
		strictyaml.Required("with", "The other environment. Either of the two may say it.", with, func(i *Intended) *stella.EnvName { return &i.With }))
}

// everyResource is the pattern of a rule that names none.
const everyResource = "*/*"

// ruleShape is a rule that says which differences it covers, with the fields
// that it has besides.
func ruleShape[T any](of func(*T) *drift.Ignore, more ...strictyaml.Field[T]) strictyaml.Shape[T] {
	var none T
	return strictyaml.Object(none, append(more, ruleFields(of)...)...).Describe(strictyaml.Schema{"anyOf": []strictyaml.Schema{
		{"required": []string{"resource"}}, {"required": []string{"path"}},
	}}).Check(func(v strictyaml.Value, rule *T) {
		switch {
		case v.Has("resource"):
		case v.Has("path"):
			of(rule).Resource = everyResource
		default:
			v.Problem("would ignore everything", "add resource or path")
		}
	})
}

// ruleFields are those of a rule for differences.
func ruleFields[T any](of func(*T) *drift.Ignore) []strictyaml.Field[T] {
	resource := strictyaml.Line(300).Check(func(v strictyaml.Value, s *string) {
		if _, err := path.Match(*s, ""); err != nil {
			v.Problem("is not a pattern", "want the id of a resource, such as service/api or service/*")
		}
	})
	return []strictyaml.Field[T]{
		strictyaml.Optional("resource", "The resource's id, or a pattern as in path.Match. Default: every resource.", resource,
			func(f *T) *string { return &of(f).Resource }),
		strictyaml.Optional("path", "A JSON Pointer into the resource, in which * stands for one segment. Default: the whole resource.", pointerShape(),
			func(f *T) *string { return &of(f).Path }),
		strictyaml.Optional("reason", "Why it does not count.", strictyaml.Line(MostReason), func(f *T) *string { return &of(f).Reason }),
		strictyaml.Optional("until", "When the rule ends: with a day in UTC, or at a time. Default: never.", strictyaml.Until(),
			func(f *T) *time.Time { return &of(f).Until }),
	}
}

// jsonPointerRE is RFC 6901, part 3.
var jsonPointerRE = regexp.MustCompile(`^(/([^/~\x00-\x1f\x7f-\x9f]|~[01])*)*$`)

func pointerShape() strictyaml.Shape[string] {
	return strictyaml.Text(strictyaml.TextRule{
		Pattern: jsonPointerRE, What: "is not a JSON Pointer",
		Want: "want one such as /environment/LOG_LEVEL, with ~1 for / and ~0 for ~ in a name", Most: 500,
	})
}
