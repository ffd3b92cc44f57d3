package testset

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"

	"github.com/longform-go/longform/internal/figure"
)

// PageFile is the name of a report as a page.
const PageFile = "report.html"

//go:embed report.html
var page string

var reportPage = template.Must(template.New("report").Parse(page))

// savePage puts the report into dir as a page that needs no other file and no scripts.
func (r *Report) savePage(dir string) error {
	sections, err := r.sections()
	if err != nil {
		return fmt.Errorf("%s: %w", PageFile, err)
	}
	var b bytes.Buffer
	err = reportPage.Execute(&b, struct {
		Style    template.CSS
		Report   *Report
		Heading  string
		Interval string
		Remarks  []string
		Sections []section
		Examples []example
		Settings table
	}{figure.Style, r, r.Heading(), fmt.Sprintf("%.0f%%", 100*r.Confidence), r.Remarks(), sections, r.examples(), r.settings()})
	if err != nil {
		return fmt.Errorf("%s: %w", PageFile, err)
	}
	return writeFile(filepath.Join(dir, PageFile), b.Bytes())
}

// section is a part of the page.
type section struct {
	Title, Note string
	Figure      template.HTML // may be none
	Tables      []table
}

// sections are the figures and tables.
func (r *Report) sections() ([]section, error) {
	all := []section{{Title: "Scores", Tables: []table{r.scores()}}}
	var failed error
	add := func(title, note string, p *plot.Plot, height vg.Length, tables ...table) {
		svg, err := figure.SVG(p, 900*figure.Pixel, height*figure.Pixel)
		failed = cmp.Or(failed, err)
		all = append(all, section{title, note, svg, tables})
	}
	if r.Published != nil {
		t := r.besidePublished()
		note := t.Title
		t.Title = ""
		add("Beside published figures", note, r.plotRanking(), vg.Length(110+26*(len(t.Rows)-1)), t)
	}
	if tables := r.sources(); len(tables) > 0 {
		rows := len(r.Models[0].Sources) * (len(r.Models) + 1)
		add("By source", "", r.plotSources(), vg.Length(120+14*rows), tables...)
	}
	add("Text by text", "", r.plotDistribution(), 420)
	add("Length", "On the line a text is as long as its reference.", r.plotLengths(), 560)
	if pairs := r.pairs(); len(pairs) > 0 {
		all = append(all, section{Title: "Model against model", Tables: pairs,
			Note: "Wins are texts of which the first model's is the better; the difference is the first's figure minus the second's, and p the probability that models which are equally good differ at least as much."})
	}
	return all, failed
}

// shownExamples is how many records the page shows.
const shownExamples = 5

// example is a record and what the models wrote for it.
type example struct {
	Record        int // from 1
	Source        string
	Input, Output string
	Texts         []struct{ Title, Text string }
}

// examples go from the first model's worst text to its best, in equal steps of rank.
func (r *Report) examples() []example {
	order := make([]int, len(r.scored[0]))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(r.scored[0][a].meteor, r.scored[0][b].meteor) })
	n := min(shownExamples, len(order))
	var shown []example
	for k := range n {
		at := order[k*(len(order)-1)/max(1, n-1)]
		g := r.written[0].Generations[at]
		e := example{Record: at + 1, Source: g.Source, Input: g.Input, Output: g.Output}
		for i, w := range r.written {
			e.Texts = append(e.Texts, struct{ Title, Text string }{
				fmt.Sprintf("%s, %s %.1f", w.Model, r.METEOR, 100*r.scored[i][at].meteor), w.Generations[at].Text,
			})
		}
		shown = append(shown, e)
	}
	return shown
}
