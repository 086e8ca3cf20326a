// Package registry is a small OCI registry on disk, for quickstart and tests.
// Start with [New], which serves one, and [Push], which builds an image from
// files and puts it there.
//
// It is go-containerregistry's registry, which keeps blobs on disk and
// manifests in memory, with the manifests kept beside the blobs. The invariant:
// what was pushed with success is there again after a restart. It has no
// access control and belongs on loopback.
package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
)

// maxManifestBytes is what the distribution specification asks a registry to
// take.
const maxManifestBytes = 4 << 20

// New returns a registry that keeps everything below dir, which is created. A
// second one over the same directory goes on where the first one was; two at
// once over one directory do not know of each other. Requests are logged at
// debug level; a nil logger means none.
func New(dir string, logger *slog.Logger) (http.Handler, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	r := &registry{dir: filepath.Join(dir, "manifests"), logger: logger}
	blobs := filepath.Join(dir, "blobs")
	for _, d := range []string{r.dir, blobs} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("open registry: %w", err)
		}
	}
	r.inner = ggcr.New(ggcr.WithBlobHandler(ggcr.NewDiskBlobHandler(blobs)), ggcr.Logger(slog.NewLogLogger(logger.Handler(), slog.LevelDebug)))
	if err := r.load(); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	return r, nil
}

type registry struct {
	dir    string
	inner  http.Handler
	logger *slog.Logger
}

// record is one name of one manifest on disk: a tag or a digest.
type record struct {
	Path      string `json:"path"` // of the request: /v2/REPOSITORY/manifests/REFERENCE
	MediaType string `json:"mediaType"`
	Content   []byte `json:"content"`
}

// ServeHTTP implements http.Handler.
func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !strings.Contains(req.URL.Path, "/manifests/") || req.Method != http.MethodPut && req.Method != http.MethodDelete {
		r.inner.ServeHTTP(w, req)
		return
	}
	content, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxManifestBytes))
	if err != nil {
		http.Error(w, "the manifest can not be read", http.StatusRequestEntityTooLarge)
		return
	}
	answer := &answer{header: http.Header{}}
	r.serve(answer, req, content)
	if answer.ok() {
		// Before the client hears of it: what it pushed with success is kept.
		if err := r.keep(req, content); err != nil {
			r.logger.ErrorContext(req.Context(), "manifest not kept", "err", err)
			http.Error(w, "the manifest can not be kept", http.StatusInternalServerError)
			return
		}
	}
	answer.send(w)
}

// serve hands a request with its content on.
func (r *registry) serve(w http.ResponseWriter, req *http.Request, content []byte) {
	req.Body = io.NopCloser(bytes.NewReader(content))
	r.inner.ServeHTTP(w, req)
}

// answer holds an answer back. It is an http.ResponseWriter.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) ok() bool                    { return a.status/100 == 2 }

func (a *answer) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // a client that is gone asks again
}

// keep writes a manifest down under the name it was pushed by and under its
// digest, which outlives a tag that moves on.
func (r *registry) keep(req *http.Request, content []byte) error {
	if req.Method == http.MethodDelete {
		if err := os.Remove(r.file(req.URL.Path)); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	sum := sha256.Sum256(content)
	repository, _, _ := strings.Cut(req.URL.Path, "/manifests/")
	byDigest := repository + "/manifests/sha256:" + hex.EncodeToString(sum[:])
	for _, path := range slices.Compact([]string{byDigest, req.URL.Path}) {
		data, err := json.Marshal(record{Path: path, MediaType: req.Header.Get("Content-Type"), Content: content})
		if err != nil {
			return err
		}
		if err := durable.WriteFile(r.file(path), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (r *registry) file(path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(r.dir, hex.EncodeToString(sum[:])+".json")
}

// load pushes what was kept once more. Indexes come last: they name manifests
// that must be there.
func (r *registry) load() error {
	files, err := filepath.Glob(filepath.Join(r.dir, "*.json"))
	if err != nil {
		return err
	}
	records := make([]record, len(files))
	for i, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(data, &records[i]); err != nil {
			return fmt.Errorf("read %s: %w: %w", file, stella.ErrInvalid, err)
		}
	}
	slices.SortStableFunc(records, func(a, b record) int { return rank(a) - rank(b) })
	for _, rec := range records {
		req, err := http.NewRequest(http.MethodPut, rec.Path, nil) //nolint:noctx // never leaves the process
		if err != nil {
			return fmt.Errorf("%w: %w", stella.ErrInvalid, err)
		}
		req.Header.Set("Content-Type", rec.MediaType)
		answer := &answer{header: http.Header{}}
		if r.serve(answer, req, rec.Content); !answer.ok() {
			return fmt.Errorf("%w: manifest %s is not accepted any more", stella.ErrInvalid, rec.Path)
		}
	}
	return nil
}

func rank(r record) int {
	if types.MediaType(r.MediaType).IsIndex() {
		return 1
	}
	return 0
}
