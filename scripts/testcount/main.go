// Command testcount runs go test with its own arguments and prints what a person
// needs from it: a line for each package, the whole output of what failed, what was
// skipped and why, and at the end "N passed, N failed, N skipped" (subtests count).
// It exits 1 if anything failed or nothing ran.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

func main() {
	command := exec.Command("go", append([]string{"test", "-json"}, os.Args[1:]...)...)
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "testcount: cannot run go test: %v\n", err)
		os.Exit(1)
	}
	count, err := report(output, os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "testcount: reading go test's output: %v\n", err)
	}
	failed := command.Wait()
	fmt.Printf("%d passed, %d failed, %d skipped\n", count.passed, count.failed, count.skipped)
	if err != nil || failed != nil || count.failed > 0 || count.passed == 0 {
		os.Exit(1)
	}
}

// counts are of tests and subtests; a package that fails outside of its tests, such
// as one that doesn't compile, is one failure.
type counts struct{ passed, failed, skipped int }

// event is a line of go test -json; see go doc test2json.
type event struct {
	Action, Package, Test, Output string
}

// report reads events from r until its end and writes the readable account to w.
func report(r io.Reader, w io.Writer) (counts, error) {
	var total counts
	held := map[string]map[string]*strings.Builder{} // output by package and test until its fate is known
	broken := map[string]bool{}                      // packages in which a test failed
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 && err != nil {
			if err == io.EOF {
				err = nil
			}
			return total, err
		}
		var e event
		if json.Unmarshal(line, &e) != nil {
			fmt.Fprintf(w, "%s", line)
			continue
		}
		switch e.Action {
		case "build-output":
			fmt.Fprint(w, e.Output)
		case "output":
			hold(held, e)
		case "pass":
			if e.Test != "" {
				total.passed++
				delete(held[e.Package], e.Test)
			} else {
				fmt.Fprint(w, closing(held[e.Package][""]))
				delete(held, e.Package)
			}
		case "skip":
			if e.Test != "" {
				total.skipped++
				fmt.Fprint(w, held[e.Package][e.Test])
				delete(held[e.Package], e.Test)
			} else { // no test files
				delete(held, e.Package)
			}
		case "fail":
			if e.Test != "" {
				total.failed++
				broken[e.Package] = true
				fmt.Fprint(w, held[e.Package][e.Test])
				delete(held[e.Package], e.Test)
				break
			}
			if !broken[e.Package] {
				total.failed++
			}
			for test, output := range held[e.Package] {
				if test != "" {
					fmt.Fprint(w, output)
				}
			}
			if own := held[e.Package][""]; own != nil {
				fmt.Fprint(w, own)
			}
			delete(held, e.Package)
		}
	}
}

// hold keeps what a test or, with no test named, a package wrote.
func hold(held map[string]map[string]*strings.Builder, e event) {
	if strings.HasPrefix(e.Output, "=== ") { // RUN, PAUSE, CONT, NAME
		return
	}
	if held[e.Package] == nil {
		held[e.Package] = map[string]*strings.Builder{}
	}
	if held[e.Package][e.Test] == nil {
		held[e.Package][e.Test] = new(strings.Builder)
	}
	held[e.Package][e.Test].WriteString(e.Output)
}

// closing is the last line of a passed package's own output, which names it and its time.
func closing(output *strings.Builder) string {
	if output == nil {
		return ""
	}
	lines := strings.SplitAfter(strings.TrimRight(output.String(), "\n"), "\n")
	return lines[len(lines)-1] + "\n"
}
