//go:build linux

package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stella-ops/stella"
)

func TestAVolumeWhoseRecordIsLostIsTakenBackWithItsContent(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	data := stella.Resource{ID: "volume/data", Fields: fields{"name": "data"}}
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, data, web)
	kept := filepath.Join(s.lay.volume("data"), "kept")
	if err := os.WriteFile(kept, []byte("data\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.lay.volumeRecord("data"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	live := s.observe(t)
	if _, ok := live.Resource(data.ID); ok || !strings.Contains(strings.Join(live.Observed.Notes, "\n"), "the record of volume data") {
		t.Errorf("it is said to be in use: %+v, notes %q", live.Resources, live.Observed.Notes)
	}
	s.deploy(t, data, web)
	if _, ok := s.observe(t).Resource(data.ID); !ok {
		t.Error("it is not in use again")
	}
	if got, err := os.ReadFile(kept); err != nil || string(got) != "data\n" {
		t.Errorf("its content: %q, %v", got, err)
	}
}
