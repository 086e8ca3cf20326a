package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/reconciler"
)

// detected is what a look for drift found, and when that was.
type detected struct {
	environments []reconciler.Diff
	at           time.Time
	took         time.Duration
}

// report is one that was asked for.
type report struct {
	format string
	file   string // "-" for stdout
}

func stdout(reports []report) bool {
	return slices.ContainsFunc(reports, func(r report) bool { return r.file == "-" })
}

// The formats of reports.
const (
	reportJSON     = "json"
	reportJUnit    = "junit"
	reportMarkdown = "markdown"
)

func reportFormats() []string { return []string{reportJSON, reportJUnit, reportMarkdown} }

// reportFlag reads --report FORMAT=FILE and --report FORMAT FILE. Of the second
// form the file is among the arguments: the one that comes next after as many as
// there were.
type reportFlag struct {
	args   func() int // how many arguments were read so far
	asked  []report
	places []int // of asked: where its file is among the arguments; -1 where it is known
}

// Set implements pflag.Value.
func (r *reportFlag) Set(s string) error {
	format, file, named := strings.Cut(s, "=")
	if !slices.Contains(reportFormats(), format) || named && file == "" {
		return fmt.Errorf("want one of %s with a file, as in junit=drift.xml", strings.Join(reportFormats(), ", "))
	}
	place := -1
	if !named {
		place = r.args()
	}
	r.asked, r.places = append(r.asked, report{format, file}), append(r.places, place)
	return nil
}

// String implements pflag.Value.
func (r *reportFlag) String() string {
	var all []string
	for _, a := range r.asked {
		all = append(all, a.format+"="+a.file)
	}
	return strings.Join(all, ",")
}

// Type implements pflag.Value.
func (*reportFlag) Type() string { return "report" }

// take returns the reports and the arguments that are no files of reports.
func (r *reportFlag) take(cmd *cobra.Command, args []string) ([]report, []string, error) {
	files := map[int]bool{}
	for i, place := range r.places {
		if place < 0 {
			continue
		}
		for files[place] {
			place++
		}
		if place >= len(args) {
			return nil, nil, usage(cmd, "--report %s needs a file, as in --report %[1]s=FILE", r.asked[i].format)
		}
		r.asked[i].file, files[place] = args[place], true
	}
	var rest []string
	for i, arg := range args {
		if !files[i] {
			rest = append(rest, arg)
		}
	}
	seen := map[string]bool{}
	for _, a := range r.asked {
		if seen[a.file] {
			return nil, nil, usage(cmd, "--report: two reports to %s", a.file)
		}
		seen[a.file] = true
	}
	return r.asked, rest, nil
}

// writeReports writes every report that can be written.
func (a *App) writeReports(reports []report, d detected) error {
	var failed []error
	for _, r := range reports {
		text, err := r.text(d)
		if err == nil {
			err = a.writeReport(r.file, text)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("report %s=%s: %w", r.format, r.file, err))
		}
	}
	return errors.Join(failed...)
}

func (r report) text(d detected) ([]byte, error) {
	switch r.format {
	case reportJUnit:
		return junitReport(d)
	case reportMarkdown:
		return markdownReport(d), nil
	}
	return encodeJSON(detectDoc{1, d.environments})
}

// writeReport replaces a file as a whole. What is there and is no file, a pipe
// or a terminal, is written to.
func (a *App) writeReport(file string, text []byte) error {
	if file == "-" {
		a.progress().Close()
		a.printed = true
		_, err := a.out().W.Write(text)
		return printError(err)
	}
	path, err := a.pathOf(file)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Mode().IsRegular():
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err // a link stays one
		}
		mode = info.Mode().Perm()
	default:
		return writeInto(path, text)
	}
	return durable.WriteFile(path, text, mode)
}

func writeInto(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}

// pathOf is a file as the command line means it.
func (a *App) pathOf(file string) (string, error) {
	if filepath.IsAbs(file) {
		return file, nil
	}
	dir, err := a.process.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	return filepath.Join(dir, file), nil
}
