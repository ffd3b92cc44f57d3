package testset

import (
	"cmp"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/longform-go/longform/internal/testset/scores"
)

// Print is the report for people.
func (r *Report) Print(out io.Writer) error {
	fmt.Fprintf(out, "%s, with %.0f%% intervals\n", r.Heading(), 100*r.Confidence)
	for _, line := range r.Remarks() {
		fmt.Fprintln(out, line)
	}
	tables := []table{r.scores()}
	if r.Published != nil {
		tables = append(tables, r.besidePublished())
	}
	for _, t := range slices.Concat(tables, r.sources(), r.pairs()) {
		if err := t.print(out); err != nil {
			return err
		}
	}
	return nil
}

// name is what a group is called beside others.
func name(g scores.Group) string { return cmp.Or(g.Source, "no source") }

// table has a heading in its first row and names in its first column.
type table struct {
	Title string
	Rows  [][]string
}

func (t *table) row(cells ...string) { t.Rows = append(t.Rows, cells) }

func (t table) print(out io.Writer) error {
	fmt.Fprintln(out)
	if t.Title != "" {
		fmt.Fprintf(out, "%s\n\n", t.Title)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range t.Rows {
		fmt.Fprintf(w, "%s\t\n", strings.Join(row, "\t"))
	}
	return w.Flush()
}

// scores have a column for each model.
func (r *Report) scores() (t table) {
	head := []string{""}
	for _, m := range r.Models {
		head = append(head, m.Name)
	}
	t.row(head...)
	for _, m := range all {
		row := []string{r.Label(m.name)}
		for _, model := range r.Models {
			row = append(row, model.All.Figures[m.name].String())
		}
		t.row(row...)
	}
	return t
}

// ranked is a model's METEOR, published, of this run, or both.
type ranked struct {
	model          string
	published, run *scores.Figure
}

// ranking is the published column with this run's beside it, the best first. A published model that was run here is in one row.
func (r *Report) ranking() []ranked {
	var rows []ranked
	for _, p := range r.Published.METEOR {
		v := scores.Number(p.Value)
		rows = append(rows, ranked{model: p.Model, published: &scores.Figure{Value: v, Low: v, High: v}})
	}
	for _, m := range r.Models {
		f := m.All.Figures[scores.METEOR]
		if i := slices.IndexFunc(rows, func(row ranked) bool { return strings.EqualFold(row.model, m.Name) }); i >= 0 {
			rows[i].run = &f
		} else {
			rows = append(rows, ranked{model: m.Name, run: &f})
		}
	}
	slices.SortStableFunc(rows, func(a, b ranked) int {
		return cmp.Compare(cmp.Or(b.run, b.published).Value, cmp.Or(a.run, a.published).Value)
	})
	return rows
}

// besidePublished is the paper's column, and one for this run.
func (r *Report) besidePublished() table {
	p := r.Published
	t := table{Title: fmt.Sprintf("METEOR, published by %s for %s", p.Paper, p.Set)}
	switch {
	case p.Records == 0:
		t.Title += "; of which records isn't known"
	case p.Records != r.Records:
		t.Title += fmt.Sprintf(", on %d records", p.Records)
	}
	if r.METEOR != scores.METEOR {
		t.Title += fmt.Sprintf("; %s can't be compared with METEOR", r.METEOR)
	}
	t.row("", "published", "this run")
	for _, m := range r.ranking() {
		row := []string{m.model, "", ""}
		if m.published != nil {
			row[1] = fmt.Sprintf("%.1f", m.published.Value)
		}
		if m.run != nil {
			row[2] = m.run.String()
		}
		t.row(row...)
	}
	return t
}

// sources are a table for each model, where records name several.
func (r *Report) sources() []table {
	var tables []table
	for _, s := range r.Models {
		if len(s.Sources) == 0 {
			continue
		}
		t := table{Title: s.Name + " by source"}
		head := []string{"", "records"}
		for _, m := range all {
			head = append(head, r.Label(m.name))
		}
		t.row(head...)
		group := func(name string, g scores.Group) {
			row := []string{name, fmt.Sprint(g.Records)}
			for _, m := range all {
				row = append(row, fmt.Sprintf("%.2f", g.Figures[m.name].Value))
			}
			t.row(row...)
		}
		for _, g := range s.Sources {
			group(name(g), g)
		}
		group("all", s.All)
		tables = append(tables, t)
	}
	return tables
}

// pairs are a table for each two models.
func (r *Report) pairs() []table {
	var tables []table
	for i, c := range r.Comparisons {
		if before := r.Comparisons[max(0, i-1)]; i == 0 || before.First != c.First || before.Second != c.Second {
			t := table{Title: c.First + " against " + c.Second}
			t.row("", "wins", "ties", "losses", "difference", "p")
			tables = append(tables, t)
		}
		tables[len(tables)-1].row(r.Label(c.Metric), fmt.Sprint(c.Wins), fmt.Sprint(c.Ties), fmt.Sprint(c.Losses), fmt.Sprintf("%+.2f", c.Difference), fmt.Sprintf("%.3f", c.P))
	}
	return tables
}

// settings have a column for each model.
func (r *Report) settings() (t table) {
	head := []string{""}
	for _, m := range r.Models {
		head = append(head, m.Name)
	}
	t.row(head...)
	for _, field := range reflect.VisibleFields(reflect.TypeFor[scores.Settings]()) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		row := []string{name}
		for _, m := range r.Models {
			row = append(row, fmt.Sprint(reflect.ValueOf(m.Settings).FieldByIndex(field.Index)))
		}
		if strings.Join(row[1:], "") != "" { // as no model's adapter
			t.row(row...)
		}
	}
	return t
}
