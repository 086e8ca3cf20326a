package host

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/stella-ops/stella/drift"
)

// liveConfigs puts the config files as they lie on disk in the place of those
// that were asked for, in their shape. A file that is gone is left out. One that
// is as it was when it was sealed is not read. Where release.json was edited
// nobody knows which files they are: that is said, and they are not judged.
func (h *Host) liveConfigs(l *liveService, rel releaseFile, seal sealFile, found fileChanges) {
	asked, ok := l.resource.Fields["configs"].(map[string]any)
	if !ok || slices.Contains(found.named, "changed "+strings.TrimPrefix(releaseDocument, "/")) {
		return
	}
	records := map[string]configRecord{}
	for _, c := range rel.Configs {
		records[c.Path] = c
	}
	dir := h.lay.release(l.component.Name, l.spec.Release)
	out := map[string]any{}
	for path, v := range asked {
		want, _ := v.(map[string]any)
		if live, there := liveConfig(dir, records[path], seal, want); there {
			out[path] = live
			l.hideConfig(path)
		}
	}
	l.resource.Fields["configs"] = out
}

// liveConfig is one config file on disk; want itself where nobody touched it.
func liveConfig(dir string, c configRecord, seal sealFile, want map[string]any) (live map[string]any, there bool) {
	if c.File == "" {
		return nil, false
	}
	fi, err := statConfig(dir, c)
	if err != nil {
		return nil, false
	}
	if seal.untouched(c, fi) {
		return want, true
	}
	content, err := readConfig(dir, c, fi)
	if err != nil {
		return nil, false
	}
	live = maps.Clone(want)
	if digestOf(content) != c.Digest {
		delete(live, "content")
		delete(live, "contentBase64")
		if utf8.Valid(content) {
			live["content"] = string(content)
		} else {
			live["contentBase64"] = base64.StdEncoding.EncodeToString(content)
		}
		if _, ok := live["digest"]; ok {
			live["digest"] = string(digestOf(content))
		}
	}
	if mode := uint32(fi.Mode().Perm()); mode != c.Mode {
		live["mode"] = fmt.Sprintf("%04o", mode)
	}
	liveOwner(live, c, ownership(fi))
	return live, true
}

// liveOwner says who owns a config file where it is not who owned it when it was
// put there.
func liveOwner(live map[string]any, c configRecord, now string) {
	if c.Owner == "" || now == c.Owner {
		return
	}
	wasUID, wasGID, _ := strings.Cut(c.Owner, ":")
	uid, gid, _ := strings.Cut(now, ":")
	if uid != wasUID {
		live["uid"] = uid
	}
	if gid != wasGID {
		live["gid"] = gid
	}
}

// hideConfig makes all that is in a secret file secret: where the content is one,
// what somebody else put there is one as well, in whatever form, and its digest
// lets a short one be guessed.
func (l *liveService) hideConfig(path string) {
	forms := []string{
		drift.Pointer("configs", path, "content"), drift.Pointer("configs", path, "contentBase64"), drift.Pointer("configs", path, "digest"),
	}
	if !slices.Contains(l.resource.Secrets, forms[0]) && !slices.Contains(l.resource.Secrets, forms[1]) {
		return
	}
	secrets := slices.Clone(l.resource.Secrets)
	for _, p := range forms {
		if !slices.Contains(secrets, p) {
			secrets = append(secrets, p)
		}
	}
	l.resource.Secrets = secrets
}

// maxConfigBytes bounds a config file that is read.
const maxConfigBytes = 4 << 20

// readConfig reads a config file of a release, which may have become anything.
func readConfig(dir string, c configRecord, fi fs.FileInfo) ([]byte, error) {
	if !fi.Mode().IsRegular() || fi.Size() > maxConfigBytes {
		return nil, fs.ErrInvalid
	}
	f, _, err := openConfig(dir, c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return readBounded(f, maxConfigBytes)
}
