package docker

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/dockertest"
)

var testTime = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// TestAVolumeIsNeverRemoved walks a volume through all that an app can say of it.
func TestAVolumeIsNeverRemoved(t *testing.T) {
	t.Parallel()
	y := newYard(t, dockertest.Engine(t), "vols")
	h := &holdings{}
	r := stella.Resource{ID: "volume/data", Fields: map[string]any{
		"name": "data", "labels": map[string]any{"team": "shop"}, "driver_opts": map[string]any{"type": "tmpfs", "device": "tmpfs", "o": "size=1m"},
	}}
	y.must(y.d.under(1<<40).putVolume(t.Context(), r, nil, h))
	y.must(y.d.under(1<<40).putVolume(t.Context(), r, nil, h))
	if got := y.differences(r, h); len(got) > 0 {
		t.Errorf("at once differs: %v", got)
	}
	changed := stella.Resource{ID: r.ID, Fields: map[string]any{"name": "data", "labels": map[string]any{"team": "shop"}}}
	errs := y.d.checkVolumes(t.Context(), stella.State{Resources: []stella.Resource{changed}}, h)
	if len(errs) != 1 || !errors.Is(errs[0], stella.ErrRefused) || stella.Hint(errs[0]) == "" {
		t.Errorf("other options: %v", errs)
	}
	y.must(y.d.retireVolume(t.Context(), r.ID, h))
	if diff := cmp.Diff([]string{"missing volume/data"}, y.differences(r, h)); diff != "" || !y.hasVolume("vols_data") {
		t.Errorf("a volume that is retired is in sight, or gone: %s", diff)
	}
	y.must(y.d.under(1<<40).putVolume(t.Context(), r, nil, h))
	if got := y.differences(r, h); len(got) > 0 || len(h.Retired) > 0 {
		t.Errorf("taken back it differs: %v, %v", got, h.Retired)
	}
	renamed := stella.Resource{ID: r.ID, Fields: map[string]any{"name": "vols-other", "named": true}}
	y.must(y.d.under(1<<40).putVolume(t.Context(), renamed, nil, h))
	if got := y.differences(renamed, h); len(got) > 0 || !y.hasVolume("vols_data") || !y.hasVolume("vols-other") {
		t.Errorf("with another name it differs, or a volume is gone: %v", got)
	}
	_, err := y.api.VolumeRemove(t.Context(), "vols-other", client.VolumeRemoveOptions{})
	y.must(err)
	_, err = y.api.VolumeCreate(t.Context(), client.VolumeCreateOptions{Name: "vols-other"})
	y.must(err)
	err = y.d.under(1<<40).putVolume(t.Context(), renamed, nil, h)
	if !errors.Is(err, stella.ErrRefused) || !strings.Contains(stella.Hint(err), "stella adopt prod") {
		t.Errorf("a taken name: %v", err)
	}
	external := stella.Resource{ID: "volume/ext", Fields: map[string]any{"name": "vols-other", "external": true}}
	y.must(y.d.under(1<<40).putVolume(t.Context(), external, nil, h))
	y.must(y.d.retireVolume(t.Context(), external.ID, h))
	if !y.hasVolume("vols-other") || len(h.Unlabelled) > 0 {
		t.Error("an external volume is gone, or still remembered")
	}
}

func (y *yard) hasVolume(name string) bool {
	y.Helper()
	_, there, err := y.d.volumeNamed(y.Context(), name)
	y.must(err)
	return there
}
