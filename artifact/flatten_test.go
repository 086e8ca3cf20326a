package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/unpack"
)

// layerTar makes a layer of "name" (a file with content), "name/", "name ->
// target" and "name = target" (a hard link).
func layerTar(t testing.TB, entries ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e, Mode: 0o644, Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		body := ""
		if name, target, found := strings.Cut(e, " -> "); found {
			h.Typeflag, h.Name, h.Linkname = tar.TypeSymlink, name, target
		} else if name, target, found := strings.Cut(e, " = "); found {
			h.Typeflag, h.Name, h.Linkname = tar.TypeLink, name, target
		} else if strings.HasSuffix(e, "/") {
			h.Typeflag = tar.TypeDir
		} else if name, content, found := strings.Cut(e, ": "); found {
			h.Name, body = name, content
		}
		h.Size = int64(len(body))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// flattened lays layers over each other as Pull does.
func flattened(ctx context.Context, dir string, entries int, layers ...[]byte) (*Image, error) {
	image := &Image{content: newFlattener(entries)}
	left := &budget{left: 1 << 30, ratio: 1000}
	for i, data := range layers {
		l := layer{
			path: filepath.Join(dir, fmt.Sprint(i)), diffID: digest(data),
			want: descriptor{MediaType: types.OCIUncompressedLayer, Digest: digest(data), Size: int64(len(data))},
		}
		if err := os.WriteFile(l.path, data, 0o600); err != nil {
			return nil, err
		}
		image.layers = append(image.layers, l)
		if err := image.verify(ctx, l, left); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// listing reads a tar in the notation of layerTar, directories left out that
// have something in them.
func listing(t testing.TB, r io.Reader) []string {
	t.Helper()
	var all []string
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		switch h.Typeflag {
		case tar.TypeSymlink:
			all = append(all, h.Name+" -> "+h.Linkname)
		case tar.TypeLink:
			all = append(all, h.Name+" = "+h.Linkname)
		case tar.TypeReg:
			all = append(all, h.Name+": "+string(body))
		default:
			all = append(all, strings.TrimSuffix(h.Name, "/")+"/")
		}
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return slices.DeleteFunc(all, func(e string) bool {
		return strings.HasSuffix(e, "/") && slices.ContainsFunc(all, func(o string) bool { return o != e && strings.HasPrefix(o, e) })
	})
}

func TestFlatten(t *testing.T) {
	for name, c := range map[string]struct {
		layers [][]string
		want   []string
	}{
		"an upper file hides the lower one": {[][]string{{"a: 1", "b: 1"}, {"a: 2"}}, []string{"a: 2", "b: 1"}},
		"a whiteout":                        {[][]string{{"d/a: 1", "d/b: 1"}, {"d/.wh.a"}}, []string{"d/b: 1"}},
		"a whiteout of a directory":         {[][]string{{"d/a: 1", "e: 1"}, {".wh.d"}}, []string{"e: 1"}},
		"a whiteout of nothing":             {[][]string{{"a: 1"}, {".wh.b", "x/.wh.y"}}, []string{"a: 1", "x/"}},
		"a whiteout does not hide its own layer": {
			[][]string{{"d/a: 1", "f: 1"}, {"d/", "d/b: 2", ".wh.d", "f: 2", ".wh.f"}},
			[]string{"d/b: 2", "f: 2"},
		},
		"an opaque directory":                        {[][]string{{"d/a: 1", "d/s/x: 1"}, {"d/", "d/.wh..wh..opq", "d/b: 2"}}, []string{"d/b: 2"}},
		"an opaque marker after what it keeps":       {[][]string{{"d/a: 1", "d/s/x: 1"}, {"d/s/y: 2", "d/b: 2", "d/.wh..wh..opq"}}, []string{"d/b: 2", "d/s/y: 2"}},
		"an opaque directory in place of a link":     {[][]string{{"usr/bin/sh: 1", "bin -> usr/bin"}, {"bin/", "bin/.wh..wh..opq", "bin/new: 2"}}, []string{"bin/new: 2", "usr/bin/sh: 1"}},
		"an opaque marker two layers up":             {[][]string{{"d/a: 1"}, {"d/b: 2"}, {"d/", "d/.wh..wh..opq"}, {"d/c: 4"}}, []string{"d/c: 4"}},
		"what was hidden comes back as new":          {[][]string{{"a: 1"}, {".wh.a"}, {"a: 3"}}, []string{"a: 3"}},
		"what aufs kept":                             {[][]string{{".wh..wh.plnk/1: x", ".wh..wh.aufs", "a: 1"}}, []string{"a: 1"}},
		"a file in place of a directory":             {[][]string{{"d/a: 1", "d/b/c: 1"}, {"d: 2"}}, []string{"d: 2"}},
		"a directory in place of a file":             {[][]string{{"d: 1"}, {"d/", "d/a: 2"}}, []string{"d/a: 2"}},
		"a directory in place of a link":             {[][]string{{"usr/lib/x: 1", "lib -> usr/lib"}, {"lib/", "lib/y: 2"}}, []string{"lib/y: 2", "usr/lib/x: 1"}},
		"a link in place of a directory":             {[][]string{{"bin/sh: 1"}, {".wh.bin", "usr/bin/sh: 2", "bin -> usr/bin"}}, []string{"bin -> usr/bin", "usr/bin/sh: 2"}},
		"through a link of a lower layer":            {[][]string{{"usr/bin/sh: 1", "bin -> usr/bin"}, {"bin/app: 2"}}, []string{"bin -> usr/bin", "usr/bin/app: 2", "usr/bin/sh: 1"}},
		"through an absolute link":                   {[][]string{{"run/", "var/run -> /run"}, {"var/run/pid: 2"}}, []string{"run/pid: 2", "var/run -> /run"}},
		"through a link that climbs":                 {[][]string{{"run/", "var/run -> ../../../run"}, {"var/run/pid: 2"}}, []string{"run/pid: 2", "var/run -> ../../../run"}},
		"a whiteout through a link":                  {[][]string{{"usr/bin/sh: 1", "usr/bin/ls: 1", "bin -> usr/bin"}, {"bin/.wh.sh"}}, []string{"bin -> usr/bin", "usr/bin/ls: 1"}},
		"the same file through a link":               {[][]string{{"usr/bin/sh: 1", "bin -> usr/bin"}, {"bin/sh: 2"}}, []string{"bin -> usr/bin", "usr/bin/sh: 2"}},
		"the last of a name in one layer":            {[][]string{{"a: 1", "a: 2"}}, []string{"a: 2"}},
		"names as tools write them":                  {[][]string{{"/", "/etc//passwd: 1", "././opt/x: 1"}}, []string{"etc/passwd: 1", "opt/x: 1"}},
		"a hard link":                                {[][]string{{"a: 1", "b = a"}}, []string{"a: 1", "b = a"}},
		"a hard link to a lower layer":               {[][]string{{"a: 1"}, {"b = /a"}}, []string{"a: 1", "b = a"}},
		"a hard link outlives what it was made from": {[][]string{{"z: 1"}, {"a = z"}, {".wh.z"}}, []string{"a: 1"}},
		"a hard link keeps its content":              {[][]string{{"a: 1", "b = a"}, {"a: 2"}}, []string{"a: 2", "b: 1"}},
		"a hard link to a link":                      {[][]string{{"a: 1", "l -> a", "d/h = l"}}, []string{"a: 1", "d/h -> a", "l -> a"}},
		"an implied directory":                       {[][]string{{"a/b/c: 1"}}, []string{"a/b/c: 1"}},
		"no layers":                                  {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var layers [][]byte
			for _, l := range c.layers {
				layers = append(layers, layerTar(t, l...))
			}
			img, err := flattened(t.Context(), t.TempDir(), 1000, layers...)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(c.want)
			if diff := cmp.Diff(c.want, listing(t, contents(t, img))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func contents(t testing.TB, img *Image) io.Reader {
	t.Helper()
	r, err := img.Files(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// TestRepeatedWhiteoutsCostNothing: a layer may say the same thing again and
// again about a directory that is full.
func TestRepeatedWhiteoutsCostNothing(t *testing.T) {
	var entries []string
	for i := range 3000 {
		entries = append(entries, fmt.Sprintf("d/f%d", i))
	}
	for range 3000 {
		entries = append(entries, "d/.wh..wh..opq", ".wh.d")
	}
	img, err := flattened(t.Context(), t.TempDir(), 10000, layerTar(t, "d/old"), layerTar(t, entries...))
	if err != nil {
		t.Fatal(err)
	}
	if got := len(listing(t, contents(t, img))); got != 3000 {
		t.Errorf("%d files", got)
	}
}

// TestFlattenAgreesWithExtract compares with go-containerregistry on images
// without links, and without what it does differently: whiteouts that come
// before what they hide in their own layer, the same name twice.
func TestFlattenAgreesWithExtract(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		var layers [][]byte
		image := empty.Image
		for i := range rapid.IntRange(1, 4).Draw(rt, "layers") {
			names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{
				"a", "b", "d/a", "d/b", "d/e/a", "d/e/b", "x/y/z", ".wh.a", "d/.wh.b", ".wh.d", "d/.wh.e", "d/e/.wh..wh..opq", "x/.wh..wh..opq",
			}), 1, 6, rapid.ID).Draw(rt, "names")
			var entries []string
			for _, n := range names {
				if hides(names, n) {
					continue
				}
				if !strings.Contains(n, ".wh.") {
					n += fmt.Sprintf(": %d", i)
				}
				entries = append(entries, n)
			}
			data := layerTar(t, entries...)
			layers = append(layers, data)
			var err error
			if image, err = mutate.AppendLayers(image, static.NewLayer(data, types.OCIUncompressedLayer)); err != nil {
				rt.Fatal(err)
			}
		}
		img, err := flattened(t.Context(), dir, 1000, layers...)
		if err != nil {
			rt.Fatal(err)
		}
		onlyFiles := func(all []string) []string {
			return slices.DeleteFunc(all, func(e string) bool { return strings.HasSuffix(e, "/") })
		}
		want := mutate.Extract(image)
		defer func() { _ = want.Close() }()
		if diff := cmp.Diff(onlyFiles(listing(t, want)), onlyFiles(listing(t, contents(t, img))), cmpopts.EquateEmpty()); diff != "" {
			rt.Fatalf("(-Extract +got):\n%s", diff)
		}
	})
}

// hides reports whether a whiteout names something that its own layer brings.
func hides(names []string, whiteout string) bool {
	dir, base := filepath.Split(whiteout)
	base, found := strings.CutPrefix(base, ".wh.")
	return found && slices.ContainsFunc(names, func(n string) bool {
		return n == dir+base || strings.HasPrefix(n, dir+base+"/")
	})
}

// FuzzLayers takes two layers of any bytes: what is accepted must come out as a
// tar that unpack takes, without a word of its own.
func FuzzLayers(f *testing.F) {
	f.Add(layerTar(f, "usr/bin/sh: 1", "bin -> usr/bin", "h = usr/bin/sh"), layerTar(f, "bin/app: 2", "usr/.wh.bin", "h2 = h"))
	f.Add(layerTar(f, "a -> b", "b -> a", "l -> ../../x", "d/"), layerTar(f, "d: 1", ".wh..wh..opq", "/abs/x: 1"))
	f.Add(layerTar(f, "dev -> /", "e/f/g: 1"), layerTar(f, "e = e/f/g", "e/.wh.f"))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		img, err := flattened(t.Context(), t.TempDir(), 200, one, two)
		if err != nil {
			if !errors.Is(err, stella.ErrInvalid) || strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("got %q", err)
			}
			return
		}
		root, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = root.Close() }()
		_, err = unpack.Tar(t.Context(), contents(t, img), root, unpack.Limits{Sync: unpack.SyncNone})
		if err != nil && !strings.Contains(err.Error(), "below dev/ only") {
			t.Errorf("unpack: %v", err)
		}
	})
}
