package cli

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/reconciler"
)

// The elements of a JUnit report that CI systems agree on. A suite is an
// environment, a case is a target: one that drifted failed, one that could not be
// read is an error.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Time     string       `xml:"time,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Errors    int         `xml:"errors,attr"`
		Skipped   int         `xml:"skipped,attr"`
		Time      string      `xml:"time,attr"`
		Timestamp string      `xml:"timestamp,attr"`
		Cases     []junitCase `xml:"testcase"`
		Out       string      `xml:"system-out,omitempty"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitProblem `xml:"failure"`
		Error   *junitProblem `xml:"error"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitProblem struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

func junitReport(d detected) ([]byte, error) {
	all := junitSuites{Name: "stella drift detect", Time: junitTime(d.took)}
	for _, env := range d.environments {
		s := junitOf(env, d)
		all.Tests, all.Failures, all.Errors = all.Tests+s.Tests, all.Failures+s.Failures, all.Errors+s.Errors
		all.Suites = append(all.Suites, s)
	}
	text, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write XML: %w", err)
	}
	return []byte(xml.Header + string(text) + "\n"), nil
}

func junitOf(env reconciler.Diff, d detected) junitSuite {
	at := d.at
	if !env.ObservedAt.IsZero() {
		at = env.ObservedAt
	}
	s := junitSuite{Name: string(env.Environment), Time: junitTime(0), Timestamp: at.UTC().Format("2006-01-02T15:04:05")}
	class := "drift." + string(env.Environment)
	if env.Error != "" {
		s.add(junitCase{Name: "environment", Class: class, Error: junitError(env.Error)})
	}
	for _, t := range env.Targets {
		s.add(junitTarget(t, class))
	}
	s.Out = strings.Join(asides(env), "\n")
	return s
}

func (s *junitSuite) add(c junitCase) {
	c.Time = junitTime(0) // targets are read beside each other
	s.Cases = append(s.Cases, c)
	s.Tests++
	if c.Failure != nil {
		s.Failures++
	}
	if c.Error != nil {
		s.Errors++
	}
}

func junitTarget(t reconciler.TargetDiff, class string) junitCase {
	c := junitCase{Name: t.Target, Class: class}
	if t.Error != "" {
		c.Error = junitError(t.Error)
		return c
	}
	var lines, ignored []string
	for _, change := range t.Changes {
		if change.Ignored {
			ignored = append(ignored, "ignored: "+changeWords(change)+" ("+change.Reason+")")
			continue
		}
		lines = append(lines, changeWords(change))
	}
	if len(lines) > 0 {
		c.Failure = &junitProblem{Message: count(len(lines), "difference") + ": " + lines[0], Type: "drift", Text: plainLines(lines)}
	}
	for _, n := range t.Notes {
		ignored = append(ignored, "note: "+n)
	}
	c.Out = plainLines(ignored)
	c.clip()
	return c
}

func junitError(text string) *junitProblem {
	return &junitProblem{Message: safe.Clip(safe.Line(text), mostMessage), Type: "unreadable", Text: safe.Line(text)}
}

// mostMessage bounds an attribute; the element has it whole.
const mostMessage = 300

func (c *junitCase) clip() {
	if c.Failure != nil {
		c.Failure.Message = safe.Clip(c.Failure.Message, mostMessage)
	}
}

func plainLines(lines []string) string {
	safely := make([]string, len(lines))
	for i, line := range lines {
		safely[i] = safe.Line(line)
	}
	return strings.Join(safely, "\n")
}

func junitTime(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }

// changeWords is a difference in one line.
func changeWords(c stella.Change) string {
	what := fmt.Sprintf("%s: %s", c.Severity, c.Resource)
	if c.Path != "" {
		what += " " + c.Path
	}
	switch {
	case c.Path == "":
		what += " is " + string(c.Class)
	case c.Secret:
		what += ": " + stella.SecretChanged
	default:
		what += fmt.Sprintf(" %s: wanted %s, runs %s", c.Class, value(c.Desired), value(c.Live))
	}
	return safe.Line(what)
}

// asides are what a reader should know of an environment besides.
func asides(env reconciler.Diff) []string {
	var all []string
	for _, n := range env.Notes {
		all = append(all, safe.Line("note: "+n))
	}
	for _, r := range env.Expired {
		all = append(all, safe.Line("an ignore rule expired, what it covered counts again: "+r.String()))
	}
	return all
}
