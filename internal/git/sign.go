package git

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/git/odb"
	"github.com/stella-ops/stella/internal/safe"
)

// Sign returns a commit that was built as the person's git would have made it:
// with their signature where commit.gpgSign says so, made by the programs that
// git uses (gpg.format and gpg.program; docs/design/0007-signing.md). Otherwise,
// and for one that is signed already, it returns b itself. The signed commit has
// another id and the same content.
//
// A commit that can not be signed must not be pushed: errors are of class
// stella.ErrInvalid for a configuration that makes no sense, and else of
// stella.ErrRefused.
func (r *Repo) Sign(ctx context.Context, b *Built) (*Built, error) {
	return r.sign(ctx, b, "")
}

// SignUnless is Sign for commits that no person writes. The key is a boolean of
// git's configuration: where it is false, they are not signed.
func (r *Repo) SignUnless(ctx context.Context, key string, b *Built) (*Built, error) {
	return r.sign(ctx, b, strings.ToLower(key))
}

func (r *Repo) sign(ctx context.Context, b *Built, unless string) (*Built, error) {
	if b.signed || r.opts.Unsigned {
		return b, nil
	}
	settings, err := r.config(ctx)
	if err != nil {
		return nil, fmt.Errorf("sign a commit: %w", err)
	}
	wanted, err := wantsSigning(settings, unless)
	if err != nil {
		return nil, fmt.Errorf("sign a commit: %w", err)
	}
	if !wanted {
		return b, nil
	}
	signed, err := r.signed(ctx, b, settings)
	if err != nil {
		return nil, fmt.Errorf("sign a commit: %w", err)
	}
	r.overlay.add(signed)
	return signed, nil
}

func wantsSigning(settings map[string]string, unless string) (bool, error) {
	wanted, err := boolean(settings, "commit.gpgsign", false)
	if err != nil || !wanted || unless == "" {
		return wanted, err
	}
	return boolean(settings, unless, true)
}

// boolean reads a boolean as git does.
func boolean(settings map[string]string, key string, unset bool) (bool, error) {
	value, ok := settings[key]
	if !ok {
		return unset, nil
	}
	switch strings.ToLower(value) {
	case "true", "yes", "on":
		return true, nil
	case "false", "no", "off", "":
		return false, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return false, fmt.Errorf("%w: git's configuration says %s = %q, want true or false", stella.ErrInvalid, key, safe.Clip(value, 40))
	}
	return n != 0, nil
}

// signed is b with a signature. What is signed is the commit without one.
func (r *Repo) signed(ctx context.Context, b *Built, settings map[string]string) (*Built, error) {
	payload := b.objects[b.Commit].data
	c, err := parseCommit(b.Commit, payload)
	if err != nil {
		return nil, err
	}
	s, err := newSigner(settings, c.Committer)
	if err != nil {
		return nil, err
	}
	s.getenv, s.scratch, s.log = r.opts.Getenv, r.opts.Dir, r.opts.Logger
	if s.dir = r.opts.Clone; s.dir == "" {
		s.dir = "/"
	}
	signature, err := s.sign(ctx, payload)
	if err != nil {
		return nil, err
	}
	data := withSignature(payload, signature)
	out := &Built{Tree: b.Tree, Commit: idOf(plumbing.ComputeHash(odb.Commit, data)), objects: maps.Clone(b.objects), signed: true}
	delete(out.objects, b.Commit)
	out.objects[out.Commit] = built{kind: odb.Commit, data: data}
	return out, nil
}

// withSignature puts a signature at the end of a commit's header, where git puts
// it. Each of its lines but the first begins with a space, so that none can be
// taken for a header.
func withSignature(commit, signature []byte) []byte {
	head, message, _ := bytes.Cut(commit, []byte("\n\n"))
	lines := bytes.ReplaceAll(bytes.TrimRight(signature, "\n"), []byte("\n"), []byte("\n "))
	return slices.Concat(head, []byte("\ngpgsig "), lines, []byte("\n\n"), message)
}

// signer is how commits are signed here.
type signer struct {
	format  string // "ssh", "openpgp" or "x509"
	program string
	key     string // empty: what keyHelp names
	keyHelp string // gpg.ssh.defaultKeyCommand

	getenv  func(string) string
	dir     string // where programs run, and relative paths begin
	scratch string // for temporary files
	log     *slog.Logger
}

// newSigner reads git's configuration (git-config(1), gpg.* and user.signingKey)
// as git does. Errors are of class stella.ErrInvalid.
func newSigner(settings map[string]string, committer Signature) (*signer, error) {
	s := &signer{format: settings["gpg.format"], key: settings["user.signingkey"]}
	if s.format == "" {
		s.format = "openpgp"
	}
	programs := map[string]string{"openpgp": "gpg", "x509": "gpgsm", "ssh": "ssh-keygen"}
	var known bool
	if s.program, known = programs[s.format]; !known {
		return nil, fmt.Errorf("%w: git's configuration says gpg.format = %q, want openpgp, ssh or x509", stella.ErrInvalid, safe.Clip(s.format, 40))
	}
	if p := settings["gpg.program"]; p != "" && s.format == "openpgp" {
		s.program = p
	}
	if p := settings["gpg."+s.format+".program"]; p != "" {
		s.program = p
	}
	if s.format == "ssh" {
		s.keyHelp = settings["gpg.ssh.defaultkeycommand"]
		if s.key == "" && s.keyHelp == "" {
			return nil, stella.WithHint(fmt.Errorf("%w: commit.gpgSign is true, and no key is named", stella.ErrInvalid),
				"run 'git config --global user.signingKey FILE', or set commit.gpgSign to false")
		}
		return s, nil
	}
	if s.key == "" {
		s.key = fmt.Sprintf("%s <%s>", plainName(committer.Name), plainName(committer.Email))
	}
	if strings.HasPrefix(s.key, "-") {
		return nil, fmt.Errorf("%w: git's configuration says user.signingKey = %q, which could be taken for an option", stella.ErrInvalid, safe.Clip(s.key, 40))
	}
	return s, nil
}
