package configrepo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"

	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
)

// stellaField is what Stella reads of a service besides Compose's own fields.
const stellaField = "x-stella"

// service turns one service of a model into the fields of its resource, but for
// what differs between targets: image and dependsOn.
type service struct {
	r       *renderer
	m       *model
	name    string
	typed   types.ServiceConfig
	written map[string]any
	fields  map[string]any
}

// build returns the fields. A field is there only when Compose says it.
func (s *service) build() (map[string]any, error) {
	s.fields = map[string]any{}
	s.strings()
	s.lists()
	s.environment()
	s.healthcheck()
	s.ports()
	s.volumes()
	s.configs()
	s.secrets()
	s.labels()
	s.extension()
	if err := s.others(); err != nil {
		return nil, err
	}
	value, err := drift.Value(s.fields)
	if err != nil {
		return nil, fmt.Errorf("render service/%s: %w", s.name, err)
	}
	fields, _ := value.(map[string]any)
	return fields, nil
}

// has reports whether a Compose field is written, other than as null.
func (s *service) has(name string) bool { return s.written[name] != nil }

func (s *service) fail(what, fix string, keys ...string) {
	s.r.problems = append(s.r.problems, s.m.serviceProblem(s.name, what, fix, keys...))
}

// serviceProblem is a Problem at a field of a service, where it is written.
func (m *model) serviceProblem(name, what, fix string, keys ...string) Problem {
	at := append([]string{"services", name}, keys...)
	field := ""
	for _, key := range at {
		field = joinField(field, key)
	}
	var best *composeSource
	var node *yaml.Node
	longest := -1
	for _, one := range m.sources {
		if _, ok := one.services[name]; !ok {
			continue
		}
		if n, found := one.find(at...); len(found) > longest {
			best, node, longest = one, n, len(found)
		}
	}
	if best == nil {
		best = m.sources[0]
	}
	return problemAt(best.doc.path, node, field, what, fix)
}

func (s *service) strings() {
	for compose, name := range map[string]string{"user": "user", "working_dir": "workingDir", "stop_signal": "stopSignal", "restart": "restart"} {
		if value, ok := s.written[compose].(string); ok {
			s.fields[name] = value
		}
	}
	if restart, ok := s.fields["restart"].(string); ok && !validRestart(restart) {
		s.fail("is not a restart policy", "use no, always, on-failure, on-failure:N or unless-stopped", "restart")
	}
	if d := s.typed.StopGracePeriod; d != nil {
		s.fields["stopGracePeriodSeconds"] = seconds(*d)
	}
}

func validRestart(s string) bool {
	times, counted := strings.CutPrefix(s, "on-failure:")
	if counted {
		return len(times) > 0 && len(times) < 6 && strings.Trim(times, "0123456789") == ""
	}
	return slices.Contains([]string{"no", "always", "on-failure", "unless-stopped"}, s)
}

func seconds(d types.Duration) float64 { return time.Duration(d).Seconds() }

func (s *service) lists() {
	if s.has("entrypoint") {
		s.fields["entrypoint"] = append([]string{}, s.typed.Entrypoint...)
	}
	if s.has("command") {
		s.fields["command"] = append([]string{}, s.typed.Command...)
	}
}

// environment merges env_file and environment, as Compose does: what is written
// wins over files, and a later file over an earlier one.
func (s *service) environment() {
	written := map[string]string{}
	for name, value := range s.typed.Environment {
		if value != nil {
			written[name] = *value
		} else if passed, ok := s.m.vars[name]; ok {
			written[name] = passed
		}
	}
	all := map[string]string{}
	for _, f := range s.typed.EnvFiles {
		maps.Copy(all, s.envFile(f.Path, bool(f.Required), written))
	}
	maps.Copy(all, written)
	if len(all) > 0 {
		s.fields["environment"] = all
	}
}

// envFile reads an env_file or label_file; environment are the names that may
// be used in it besides the declared ones.
func (s *service) envFile(abs string, required bool, environment map[string]string) map[string]string {
	file, ok := s.r.scratch.rel(abs)
	content, exists := s.r.read(file)
	switch {
	case ok && exists:
	case ok && !required:
		return nil
	default:
		s.fail("a file that it refers to is not in the app", "")
		return nil
	}
	values, problems := readEnvFile(file, content, newExpander(nil), func(name string) (string, bool) {
		if value, ok := s.m.vars[name]; ok {
			return value, true
		}
		value, ok := environment[name]
		return value, ok
	})
	s.r.problems = append(s.r.problems, problems...)
	return values
}

func (s *service) healthcheck() {
	h := s.typed.HealthCheck
	if h == nil || !s.has("healthcheck") {
		return
	}
	fields := map[string]any{}
	if h.Disable {
		s.fields["healthcheck"] = map[string]any{"test": []string{"NONE"}}
		return
	}
	if len(h.Test) > 0 {
		fields["test"] = []string(h.Test)
	}
	for name, d := range map[string]*types.Duration{
		"intervalSeconds": h.Interval, "timeoutSeconds": h.Timeout,
		"startPeriodSeconds": h.StartPeriod, "startIntervalSeconds": h.StartInterval,
	} {
		if d != nil {
			fields[name] = seconds(*d)
		}
	}
	if h.Retries != nil {
		fields["retries"] = *h.Retries
	}
	s.fields["healthcheck"] = fields
}

// labels merges label_file and labels; what is written wins.
func (s *service) labels() {
	all := map[string]string{}
	for _, file := range s.typed.LabelFiles {
		maps.Copy(all, s.envFile(file, true, all))
	}
	maps.Copy(all, s.typed.Labels)
	if len(all) > 0 {
		s.fields["labels"] = all
	}
}

// extension checks x-stella, which is kept as it is.
func (s *service) extension() {
	value, ok := s.written[stellaField]
	if !ok || value == nil {
		return
	}
	m, ok := value.(map[string]any)
	if !ok {
		s.fail("is not a mapping", "write {job: pre-deploy} or {rollback: keep}", stellaField)
		return
	}
	allowed := map[string][]string{
		"job":      {"pre-deploy", "post-deploy", "pre-rollback", "post-rollback"},
		"rollback": {"keep"},
	}
	for _, key := range sortedKeys(m) {
		values, known := allowed[key]
		text, _ := m[key].(string)
		switch {
		case !known:
			s.fail("is not known", "use job or rollback", stellaField, key)
		case !slices.Contains(values, text):
			s.fail("has a value that is not known", "use "+strings.Join(values, ", "), stellaField, key)
		}
	}
	s.fields[stellaField] = m
}

// named returns a name of the app for a problem.
func named(kind, name string) string { return kind + " " + safe.Clip(name, 80) }
