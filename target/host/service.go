package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stella-ops/stella"
)

// service is a "service/NAME" resource, read and checked.
type service struct {
	name     string
	resource stella.Resource // as desired
	image    stella.Artifact
	fields   serviceFields
	restart  restartPolicy
	ports    []port
	volumes  []volumeFields // sorted by target: a mount comes before what is mounted below it
	configs  []configFile   // sorted by path
}

// serviceFields are the fields of a service that a bare host understands, in
// the shape that rendering gives them.
type serviceFields struct {
	Image        string                      `json:"image"`
	Entrypoint   []string                    `json:"entrypoint"` // nil: the image's
	Command      []string                    `json:"command"`    // nil: the image's, unless Entrypoint is given
	Environment  map[string]string           `json:"environment"`
	User         string                      `json:"user"`
	WorkingDir   string                      `json:"workingDir"`
	StopSignal   string                      `json:"stopSignal"`
	GraceSeconds *float64                    `json:"stopGracePeriodSeconds"`
	Restart      string                      `json:"restart"`
	Healthcheck  *healthFields               `json:"healthcheck"`
	Ports        []portFields                `json:"ports"`
	Volumes      []volumeFields              `json:"volumes"`
	Configs      map[string]configFields     `json:"configs"`
	DependsOn    map[string]dependencyFields `json:"dependsOn"`
	Labels       map[string]string           `json:"labels"`
}

type healthFields struct {
	Test                 []string `json:"test"`
	IntervalSeconds      *float64 `json:"intervalSeconds"`
	TimeoutSeconds       *float64 `json:"timeoutSeconds"`
	StartPeriodSeconds   *float64 `json:"startPeriodSeconds"`
	StartIntervalSeconds *float64 `json:"startIntervalSeconds"`
	Retries              *float64 `json:"retries"`
}

type portFields struct {
	Target    float64 `json:"target"`
	Published string  `json:"published"`
	Protocol  string  `json:"protocol"`
	HostIP    string  `json:"hostIP"`
}

type volumeFields struct {
	Type     string `json:"type"`
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly"`
}

type configFields struct {
	Content       string `json:"content"`
	ContentBase64 string `json:"contentBase64"`
	Digest        string `json:"digest"`
	Mode          string `json:"mode"`
	UID           string `json:"uid"`
	GID           string `json:"gid"`
}

type dependencyFields struct {
	Condition string `json:"condition"`
}

// configFile is a file that Compose `configs` puts into a service.
type configFile struct {
	path     string // absolute, inside the service's root
	content  []byte
	digest   stella.Digest
	mode     uint32
	uid, gid int // -1: nobody said
}

// The conditions of dependsOn.
const (
	conditionStarted   = "service_started"
	conditionHealthy   = "service_healthy"
	conditionCompleted = "service_completed_successfully"
)

const servicePrefix = "service/"

func serviceID(name string) stella.ResourceID { return stella.ResourceID(servicePrefix + name) }

// serviceName is the name in "service/NAME".
func serviceName(id stella.ResourceID) (string, bool) {
	name, ok := strings.CutPrefix(string(id), servicePrefix)
	return name, ok
}

// finding is one thing that a target can not do of a desired state.
type finding struct {
	text  string
	class error
}

func (f finding) Error() string { return f.text }
func (f finding) Unwrap() error { return f.class }

func invalid(where, format string, args ...any) error {
	return finding{where + ": " + fmt.Sprintf(format, args...), stella.ErrInvalid}
}

func unsupported(where, field, instead string) error {
	return finding{fmt.Sprintf("%s: %s: not supported on a bare host; %s", where, field, instead), stella.ErrUnsupported}
}

// decodeService turns fields into a service; unknown ones were refused before.
func decodeService(r stella.Resource) (service, []error) {
	where := string(r.ID)
	name, _ := serviceName(r.ID)
	s := service{name: name, resource: r}
	data, err := json.Marshal(r.Fields)
	if err == nil {
		err = json.Unmarshal(data, &s.fields)
	}
	if err != nil {
		return s, []error{invalid(where, "%s", typeError(err))}
	}
	var all []error
	check := func(errs ...error) {
		for _, err := range errs {
			if err != nil {
				all = append(all, err)
			}
		}
	}
	s.image, err = stella.ParseArtifact(s.fields.Image)
	if err != nil {
		check(finding{where + ": " + err.Error(), stella.ErrInvalid})
	} else if s.image.Digest == "" {
		check(invalid(where, "image: has no digest"))
	}
	s.restart, err = parseRestart(where, s.fields.Restart)
	check(err)
	s.ports, err = parsePorts(where, s.fields.Ports)
	check(err)
	s.configs, err = parseConfigs(where, s.fields.Configs)
	check(err)
	s.volumes, err = parseVolumes(where, s.fields.Volumes)
	check(err)
	_, err = parseSignal(s.fields.StopSignal)
	if err != nil {
		check(invalid(where, "stop_signal: %v", err))
	}
	check(checkTexts(where, s.fields), checkDurations(where, s.fields))
	return s, all
}

// typeError words a JSON type error without the value: it may be secret.
func typeError(err error) string {
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%s: want %s, not %s", t.Field, t.Type, t.Value)
	}
	return "is not JSON"
}

// defaultGrace is how long Compose gives a service between its stop signal and
// SIGKILL.
const defaultGrace = 10 * time.Second

// maxGrace keeps one stop from holding up a deployment for good.
const maxGrace = time.Hour

func (s service) grace() time.Duration { return seconds(s.fields.GraceSeconds, defaultGrace) }

func seconds(v *float64, otherwise time.Duration) time.Duration {
	if v == nil {
		return otherwise
	}
	return time.Duration(*v * float64(time.Second))
}

func checkDurations(where string, f serviceFields) error {
	durations := map[string]*float64{"stop_grace_period": f.GraceSeconds}
	if h := f.Healthcheck; h != nil {
		durations["healthcheck.interval"], durations["healthcheck.timeout"] = h.IntervalSeconds, h.TimeoutSeconds
		durations["healthcheck.start_period"], durations["healthcheck.start_interval"] = h.StartPeriodSeconds, h.StartIntervalSeconds
		if h.Retries != nil && (*h.Retries < 0 || *h.Retries > 1e6 || *h.Retries != float64(int(*h.Retries))) {
			return invalid(where, "healthcheck.retries: want a whole number from 0 to 1000000")
		}
	}
	for _, field := range slices.Sorted(maps.Keys(durations)) {
		if v := durations[field]; v != nil && (*v < 0 || *v > maxGrace.Seconds()*24) {
			return invalid(where, "%s: want 0s to 24h", field)
		}
	}
	return nil
}

// checkTexts refuses what no argument or environment variable can hold.
func checkTexts(where string, f serviceFields) error {
	for _, list := range [][]string{f.Entrypoint, f.Command} {
		for _, s := range list {
			if strings.ContainsRune(s, 0) {
				return invalid(where, "command: has a NUL byte")
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(f.Environment)) {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(f.Environment[k], 0) {
			return invalid(where, "environment: a name is empty or has =, or there is a NUL byte")
		}
	}
	return nil
}
