package docker

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"path"
	"strconv"
	"unicode/utf8"

	"github.com/stella-ops/stella/drift"
)

// setFiles puts configs or secrets into the blueprint. Their contents are
// missing where what was asked is read of a label.
func setFiles(secret bool) func(c *compiler, at string, v any) {
	return func(c *compiler, at string, v any) {
		m, ok := v.(map[string]any)
		if !ok {
			c.invalid(at, "is not a mapping")
			return
		}
		for _, to := range sortedNames(m) {
			if !path.IsAbs(to) || path.Clean(to) != to || to == "/" {
				c.invalid(at, "has a target that is not an absolute path")
				continue
			}
			f := file{path: to, mode: defaultFileMode, secret: secret}
			c.file(at+"."+to, m[to], &f)
			c.bp.files = append(c.bp.files, f)
		}
	}
}

func (c *compiler) file(at string, v any, f *file) {
	c.object(at, v, map[string]func(string, any){
		"digest":  nil, // of the content, which is there too
		"content": func(path string, v any) { f.content = []byte(c.text(path, v)) },
		"contentBase64": func(path string, v any) {
			var err error
			if f.content, err = base64.StdEncoding.DecodeString(c.text(path, v)); err != nil {
				c.invalid(path, "is not base64")
			}
		},
		"mode": func(path string, v any) {
			mode, err := strconv.ParseUint(c.text(path, v), 8, 32)
			if err != nil || mode > 0o7777 {
				c.invalid(path, "is not the mode of a file")
			}
			f.mode = uint32(mode)
		},
		"uid": func(path string, v any) { f.uid = c.owner(path, v) },
		"gid": func(path string, v any) { f.gid = c.owner(path, v) },
	})
}

// owner is a user's or group's number: names are not looked up in an image.
func (c *compiler) owner(path string, v any) int {
	if v == "" {
		return 0
	}
	return int(c.within(path, c.text(path, v), 0, math.MaxInt32))
}

// getFiles reads them, with their contents as they are.
func getFiles(secret bool) func(s *side) any {
	name := "configs"
	if secret {
		name = "secrets"
	}
	return func(s *side) any {
		out := map[string]any{}
		for _, f := range s.bp.files {
			if f.secret == secret {
				asked, _ := askedBelow(s.asked, name, f.path).(map[string]any)
				out[f.path] = fileField(f, asked, s.bp.id == "")
			}
		}
		if len(out) == 0 {
			return nil
		}
		return out
	}
}

// fileField reads one file. What is wanted is marked, so that it never equals
// what is there: the contents are not in what was asked, and are always read.
func fileField(f file, asked map[string]any, wanted bool) map[string]any {
	out := map[string]any{
		"mode": fmt.Sprintf("%04o", f.mode), "uid": ownerField(f.uid, asked["uid"]), "gid": ownerField(f.gid, asked["gid"]),
	}
	if wanted {
		return out
	}
	if !f.secret {
		sum := sha256.Sum256(f.content)
		out["digest"] = "sha256:" + hex.EncodeToString(sum[:])
	}
	if utf8.Valid(f.content) {
		out["content"] = string(f.content)
	} else {
		out["contentBase64"] = base64.StdEncoding.EncodeToString(f.content)
	}
	return out
}

// ownerField is a number as it was asked: nobody in particular is root.
func ownerField(id int, asked any) string {
	if text, _ := asked.(string); text == "" && id == 0 {
		return ""
	}
	return strconv.Itoa(id)
}

// secretPointers are those of the secret values in the fields of what runs: also
// of what nobody asks for any more, or in another form.
func secretPointers(fields map[string]any) []string {
	all, _ := fields["secrets"].(map[string]any)
	var pointers []string
	for _, to := range sortedNames(all) {
		entry, _ := all[to].(map[string]any)
		for _, member := range []string{"content", "contentBase64"} {
			if _, is := entry[member]; is {
				pointers = append(pointers, drift.Pointer("secrets", to, member))
			}
		}
	}
	return pointers
}
