// Command image makes the container image of Stella out of a static binary and
// of git, ssh and the CA certificates of the machine that it runs on. Start with
// [main]; [collect] is what decides what goes in.
//
// It needs no container engine, no base image and no network: the result is a
// file for `docker load`. The invariant: the same binary and the same installed
// packages give the same image, byte for byte. It knows nothing of the trade.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/stella-ops/stella/internal/registry"
)

func main() {
	if err := run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "image: error:", err)
		}
		os.Exit(1)
	}
}

// options are what the image is made of.
type options struct {
	binary, version, tag, out string
	created                   time.Time
}

func run(args []string, getenv func(string) string, out, log io.Writer) error {
	var o options
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.StringVar(&o.binary, "binary", "bin/stella", "the static `binary`")
	flags.StringVar(&o.version, "version", "dev", "`version` for the image's labels")
	flags.StringVar(&o.tag, "tag", "stella:latest", "`name` of the image once it is loaded")
	flags.StringVar(&o.out, "o", "dist/stella-image.tar", "`file` to write")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// https://reproducible-builds.org/specs/source-date-epoch/
	if text := getenv("SOURCE_DATE_EPOCH"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return fmt.Errorf("SOURCE_DATE_EPOCH %q: want seconds", text)
		}
		o.created = time.Unix(seconds, 0).UTC()
	}
	build, err := o.build(log)
	if err != nil {
		return err
	}
	return o.write(build, out)
}

// build says what is in the image: a layer of what the machine has, and above it,
// since it changes most often, one with our binary.
func (o options) build(log io.Writer) (registry.Build, error) {
	below, err := collect(log)
	if err != nil {
		return registry.Build{}, err
	}
	binary, err := static(o.binary)
	return registry.Build{
		Layers:  [][]registry.File{below, {{Name: "usr/bin/stella", Content: binary}}},
		Config:  config(o.version),
		Created: o.created,
	}, err
}

// write puts the image into a file, all of it or none.
func (o options) write(build registry.Build, out io.Writer) (err error) {
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil { //nolint:gosec // a directory of build results
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(o.out), ".image-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove(f.Name())) }()
	id, err := build.WriteArchive(f, o.tag)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", o.out, err)
	}
	if err := os.Rename(f.Name(), o.out); err != nil {
		return err
	}
	info, err := os.Stat(o.out)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %s, %s, %.1f MB\n", o.out, o.tag, id, float64(info.Size())/1e6)
	return err
}

// remove takes away what a failed run left; after a good one it is not there.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
