package docker

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/stella-ops/stella"
)

// ownNames are the fields that configrepo renders under names of its own.
func ownNames() map[string]string {
	return map[string]string{
		"working_dir": "workingDir", "stop_signal": "stopSignal", "stop_grace_period": "stopGracePeriodSeconds", "depends_on": "dependsOn",
	}
}

// TestEveryFieldOfTheSpecificationIsDecidedOn walks the fields of compose-go's
// service: none may be dropped in silence.
func TestEveryFieldOfTheSpecificationIsDecidedOn(t *testing.T) {
	var names func(of reflect.Type) []string
	names = func(of reflect.Type) (all []string) {
		for f := range of.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous:
				all = append(all, names(f.Type)...)
			case name != "-" && name != "":
				all = append(all, name)
			}
		}
		return all
	}
	all := names(reflect.TypeFor[types.ServiceConfig]())
	if len(all) < 80 {
		t.Fatalf("only %d fields were found", len(all))
	}
	for _, name := range all {
		if own, ok := ownNames()[name]; ok {
			name = own
		}
		decided := 0
		if slices.ContainsFunc(attributes(), func(a attribute) bool { return a.field == name && a.set != nil }) {
			decided++
		}
		if ignoredFields()[name] {
			decided++
		}
		if _, ok := refusedFields()[name]; ok {
			decided++
		}
		if decided != 1 {
			t.Errorf("%s is decided on %d times", name, decided)
		}
	}
}

func TestWhatCanNotBeCarriedOutIsRefusedByNameAllAtOnce(t *testing.T) {
	fields := map[string]any{
		"image": "registry.example.com/web@sha256:" + strings.Repeat("1", 64), "no_such": true, "scale": 2.0,
		"deploy":   map[string]any{"update_config": map[string]any{}, "resources": map[string]any{"reservations": map[string]any{"cpus": 0.5}}},
		"networks": map[string]any{"front": map[string]any{"nonsense": "x"}},
		"volumes": []any{
			map[string]any{"type": "bind", "source": "./x", "target": "/x"}, map[string]any{"type": "npipe", "target": "/y"},
		},
	}
	for name := range refusedFields() {
		fields[name] = map[string]any{"x": "y"}
	}
	_, found := compile(stella.Resource{ID: "service/web", Fields: fields}, scope{project: "shop"})
	said := errors.Join(found...).Error()
	for name := range refusedFields() {
		if !strings.Contains(said, "service web: "+name+" ") {
			t.Errorf("%s is not refused", name)
		}
	}
	for _, want := range []string{
		"no_such is not known", "scale is not supported", "deploy.update_config is not supported", "networks.front.nonsense is not supported",
		"deploy.resources.reservations.cpus is not supported", "volumes[0] mounts a path of the app", "volumes[1] is of a type",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said of it:\n%s", want, said)
		}
	}
	for _, err := range found {
		if !errors.Is(err, stella.ErrUnsupported) {
			t.Errorf("not of class unsupported: %v", err)
		}
	}
}

func TestWhatAnOlderEngineWouldDropIsRefused(t *testing.T) {
	fields := map[string]any{
		"image": "x", "annotations": map[string]any{"a": "b"}, "mac_address": "02:42:ac:11:00:03",
		"healthcheck": map[string]any{"test": []any{"CMD", "x"}, "startIntervalSeconds": 1.0},
		"networks":    map[string]any{"front": map[string]any{"gw_priority": 1.0, "interface_name": "eth7", "mac_address": "02:42:ac:11:00:04"}},
		"volumes":     []any{map[string]any{"type": "volume", "source": "data", "target": "/d", "volume": map[string]any{"subpath": "a"}}, map[string]any{"type": "image", "source": "x", "target": "/i"}},
	}
	_, old := compile(stella.Resource{ID: "service/web", Fields: fields}, scope{api: "1.41"})
	_, current := compile(stella.Resource{ID: "service/web", Fields: fields}, scope{api: "1.49"})
	if len(old) != 8 || len(current) != 0 {
		t.Errorf("refused by an old engine: %v\nby a current one: %v", old, current)
	}
}
