//go:build linux

package host

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stella-ops/stella"
)

// TestManyChangedFilesAreNamedUpToALimit has more of them than anybody reads.
func TestManyChangedFilesAreNamedUpToALimit(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	root := s.lay.rootfs("web", s.releaseNames("web")[0])
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for n := range 2 * maxNamed {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("x%02d\x1b[2J", n)), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "y/z"), 0o755); err != nil { // counts as one
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o555); err != nil {
		t.Fatal(err)
	}
	live, _ := s.observe(t).Resource("service/web")
	files, _ := live.Fields["files"].([]any)
	if len(files) != maxNamed+1 || files[0] != `added /x00\u001B[2J` || files[maxNamed] != fmt.Sprintf("and %d more", maxNamed+1) {
		t.Errorf("files %q", files)
	}
}

func TestAReleaseThatWasSealedWithoutAListIsStillProven(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	dir := s.lay.release("web", s.releaseNames("web")[0])
	if err := os.Remove(filepath.Join(dir, listName)); err != nil {
		t.Fatal(err)
	}
	if got := s.changes(t, web); len(got) > 0 {
		t.Errorf("changes %v", got)
	}
	s.overwrite(t, filepath.Join(dir, "rootfs/version"), "evil")
	live, _ := s.observe(t).Resource("service/web")
	if files, _ := live.Fields["files"].([]any); len(files) != 1 {
		t.Errorf("files %q", files)
	}
	s.deploy(t, web)
	if got := s.changes(t, web); len(got) > 0 {
		t.Errorf("after it was deployed again: %v", got)
	}
}

// TestAnEditedStickerIsFoundAndNotGoneBy raises the fence in it, which would
// lock everybody out.
func TestAnEditedStickerIsFoundAndNotGoneBy(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	sticker, err := s.readSticker()
	if err != nil {
		t.Fatal(err)
	}
	sticker.Fence = 1 << 40
	if err := writeJSON(s.lay.sticker(), sticker); err != nil {
		t.Fatal(err)
	}
	live := s.observe(t)
	if odd, _ := live.Resource("sticker/edge"); odd.Fields["state"] != wordEdited {
		t.Errorf("resources %+v", live.Resources)
	}
	if live.Observed.Fence != s.fence || live.Observed.Sticker == nil {
		t.Errorf("fence %d, want %d; sticker %v", live.Observed.Fence, s.fence, live.Observed.Sticker)
	}
	s.deploy(t, web)
	if got := s.changes(t, web); len(got) > 0 {
		t.Errorf("after it was deployed again: %v", got)
	}
}

// TestAStickerOfAnOlderStellaIsBelieved since it has no sum.
func TestAStickerOfAnOlderStellaIsBelieved(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	sticker, err := s.readSticker()
	if err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(s.lay.sticker(), sticker.Sticker); err != nil {
		t.Fatal(err)
	}
	at, err := s.readTarget()
	must(t, err)
	at.Sums = false
	must(t, writeJSON(s.lay.target(), at))
	if got := s.changes(t, web); len(got) > 0 {
		t.Errorf("changes %v", got)
	}
}

// TestARecordWhoseSumWasTakenOutWasEdited, and its fence is not gone by, even
// where a sticker of an older stella would be.
func TestARecordWhoseSumWasTakenOutWasEdited(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"))
	s.deploy(t, web)
	sticker, err := s.readSticker()
	must(t, err)
	sticker.Fence = 1 << 40
	must(t, writeJSON(s.lay.sticker(), sticker.Sticker))
	status, err := s.lay.readStatus("web")
	must(t, err)
	status.Restarts, status.Sum = 7, ""
	must(t, writeJSON(s.lay.status("web"), status))
	if diff := cmp.Diff([]string{"extra service/web/status.json", "extra sticker/edge"}, s.changes(t, web)); diff != "" {
		t.Errorf("changes (-want +got)\n%s", diff)
	}
	at, err := s.readTarget()
	must(t, err)
	at.Sums = false
	must(t, writeJSON(s.lay.target(), at))
	if got := s.observe(t).Observed.Fence; got != s.fence {
		t.Errorf("fence %d, want %d", got, s.fence)
	}
	s.deploy(t, web)
	if got := s.changes(t, web); len(got) > 0 {
		t.Errorf("after it was deployed again: %v", got)
	}
}

// TestAStatusThatNamesAnotherProcessIsNotBelieved lets it name one that lives.
func TestAStatusThatNamesAnotherProcessIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web, api := serviceOf("web", s.image(t, "1")), serviceOf("api", s.image(t, "1"))
	s.deploy(t, api, web)
	pid := s.pid(t, "web")
	status, err := s.lay.readStatus("web")
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.lay.readStatus("api")
	if err != nil {
		t.Fatal(err)
	}
	status.Process = other.Process
	if err := s.lay.writeStatus("web", status); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"extra service/web/status.json"}, s.changes(t, api, web)); diff != "" {
		t.Errorf("changes (-want +got)\n%s", diff)
	}
	s.deploy(t, api, web)
	if got := s.changes(t, api, web); len(got) > 0 || s.pid(t, "web") != pid {
		t.Errorf("after it was deployed again: %v, process %d, was %d", got, s.pid(t, "web"), pid)
	}
}

// TestASecretFileStaysOneWhateverIsPutThere replaces its text by bytes.
func TestASecretFileStaysOneWhateverIsPutThere(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	web := serviceOf("web", s.image(t, "1"), configField("hunter2"))
	web.Secrets = []string{"/configs/~1etc~1app.conf/content"}
	s.deploy(t, web)
	dir := s.lay.rootfs("web", s.releaseNames("web")[0])
	s.overwrite(t, filepath.Join(dir, "etc/app.conf"), "hunter3\xff")
	live, _ := s.observe(t).Resource("service/web")
	if !slices.Contains(live.Secrets, "/configs/~1etc~1app.conf/contentBase64") {
		t.Errorf("secrets %q", live.Secrets)
	}
	for _, c := range s.differences(t, web) {
		if text := fmt.Sprint(c.Desired, c.Live); strings.Contains(text, "hunter") || strings.HasSuffix(c.Path, "contentBase64") && c.Live != stella.SecretChanged {
			t.Errorf("%s shows %s", c.Path, text)
		}
	}
}
