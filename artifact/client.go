package artifact

import (
	"cmp"
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/stella-ops/stella"
)

// Config says how a [Client] talks to registries. The zero value is usable.
type Config struct {
	// PlainHTTP lists registries, as "host" or "host:port", that are spoken to
	// without TLS. Every other one is spoken to over https, on loopback too.
	PlainHTTP []string
	// DockerConfig is the directory of Docker's config.json with credentials;
	// empty means $DOCKER_CONFIG, else $HOME/.docker.
	DockerConfig string
	// Getenv reads the environment: DOCKER_CONFIG, HOME, HTTPS_PROXY, HTTP_PROXY
	// and NO_PROXY. Nil means an empty environment. (Docker's own library, which
	// reads its configuration, looks at DOCKER_AUTH_CONFIG by itself.)
	Getenv func(string) string
	// Transport replaces the hardened network below the rules on redirects and
	// credentials, which always apply. Nil means the hardened one.
	Transport http.RoundTripper
	// RootCAs are trusted for TLS; nil means those of the system.
	RootCAs *x509.CertPool
	// Timeout bounds one Resolve or Check; zero means one minute.
	Timeout time.Duration
	// PullTimeout bounds one Pull; zero means 30 minutes.
	PullTimeout time.Duration
	// StallTimeout is how long a transfer may bring next to nothing (less than
	// 1 KiB a second), and how long a small answer may take as a whole, before it
	// is cut and tried again; zero means 30 seconds.
	StallTimeout time.Duration
	// Attempts is how often one request is tried; zero means 4.
	Attempts int
	// Limits bound what an image may be; zero fields mean the defaults.
	Limits Limits
	// Backup is where copies of images are kept that outlive their registry:
	// "host/prefix" of another registry, or "oci:/path" of an OCI image layout.
	// Empty means nowhere.
	Backup string
	// Logger receives retries at debug level; nil means none.
	Logger *slog.Logger
}

// Limits bound what is accepted as an image. Zero fields mean the defaults.
type Limits struct {
	ManifestBytes     int64 // a manifest, an index or a configuration; 4 MiB
	Layers            int   // of one image; 128
	BlobBytes         int64 // one compressed layer; 4 GiB
	ImageBytes        int64 // all compressed layers together; 8 GiB
	UncompressedBytes int64 // all layers unpacked; 16 GiB
	Ratio             int64 // unpacked to compressed, of one layer beyond 32 MiB; 200
	Entries           int   // files, directories and links of all layers together; 500,000
}

func (c Config) withDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, time.Minute)
	c.PullTimeout = cmp.Or(c.PullTimeout, 30*time.Minute)
	c.StallTimeout = cmp.Or(c.StallTimeout, 30*time.Second)
	c.Attempts = max(cmp.Or(c.Attempts, 4), 1)
	c.Limits = Limits{
		ManifestBytes:     cmp.Or(c.Limits.ManifestBytes, 4<<20),
		Layers:            cmp.Or(c.Limits.Layers, 128), // overlayfs takes no more
		BlobBytes:         cmp.Or(c.Limits.BlobBytes, 4<<30),
		ImageBytes:        cmp.Or(c.Limits.ImageBytes, 8<<30),
		UncompressedBytes: cmp.Or(c.Limits.UncompressedBytes, 16<<30),
		Ratio:             cmp.Or(c.Limits.Ratio, 200),
		Entries:           cmp.Or(c.Limits.Entries, 500_000),
	}
	if c.Getenv == nil {
		c.Getenv = func(string) string { return "" }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Client resolves, checks and pulls images. It is safe for concurrent use, and
// keeps connections and tokens between calls.
//
// All its errors have one of these classes: stella.ErrNotFound and ErrDenied
// when the registry says so, ErrUnreachable when it gives no usable answer in
// time, ErrTampered when bytes are not what their digest says, ErrInvalid and
// ErrUnsupported when the image is not one that can be used, ErrRefused when
// the registry sends us where it must not. A call that the caller ended gives
// the cause of its context.
type Client struct {
	cfg    Config
	backup *backup // nil for none

	mu       sync.Mutex             // guards below
	networks map[string]*network    // by registry
	sessions map[string]*session    // by registry/repository
	copies   map[stella.Digest]bool // that the backup was found to have
}

// New returns a client. It does no I/O.
func New(c Config) *Client {
	return &Client{
		cfg: c.withDefaults(), backup: newBackup(c.Backup, c),
		networks: map[string]*network{}, sessions: map[string]*session{}, copies: map[stella.Digest]bool{},
	}
}

// Resolve returns a with the digest that its tag has now; the tag stays. With a
// digest already, that is verified to exist, and the tag is not looked at.
func (c *Client) Resolve(ctx context.Context, a stella.Artifact) (stella.Artifact, error) {
	ctx, cancel := within(ctx, c.cfg.Timeout)
	defer cancel()
	s, err := c.session(a)
	if err != nil {
		return stella.Artifact{}, err
	}
	m, err := s.manifest(ctx, "resolve "+a.String(), reference(a), nil)
	if err != nil {
		return stella.Artifact{}, err
	}
	a.Digest = m.digest
	return a, nil
}

// reference returns what names the artifact in its repository: the digest
// where there is one.
func reference(a stella.Artifact) string {
	return cmp.Or(string(a.Digest), a.Tag)
}
