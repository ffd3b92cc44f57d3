package tasks

import (
	"errors"

	"github.com/longform-go/longform/data"
)

// eli5 is ELI5 (Fan et al., 2019) as Hugging Face's dataset of that name has it, with a test split for each of three subreddits.
//
// The question is the instruction as it stands, with its details behind it, as the questions of Stack Exchange have them in
// LongForm's own data; the reference is the answer with the most votes. What the paper did isn't known.
var eli5 = Task{
	Name:         "eli5",
	Files:        "ELI5 as on the hub, with title, selftext, subreddit and answers: JSON, JSONL or Parquet",
	Instructions: "title and selftext; the answer of the highest score",
	Published:    published("ELI5", 1),
	records: func(source string, take func(data.Record) error) error {
		return rows(source, question, take)
	},
}

// eli5Row has the answers as columns of their own, in one order.
type eli5Row struct {
	Title     string `json:"title" parquet:"title,optional"`
	SelfText  string `json:"selftext" parquet:"selftext,optional"`
	Subreddit string `json:"subreddit" parquet:"subreddit,optional"`
	Answers   struct {
		Text  []string `json:"text" parquet:"text,list"`
		Score []int32  `json:"score" parquet:"score,list"`
	} `json:"answers" parquet:"answers,optional"`
}

func question(_ string, row eli5Row) (data.Record, error) {
	a := row.Answers
	switch {
	case row.Title == "":
		return data.Record{}, errors.New("it has no title; give ELI5 as on the hub")
	case len(a.Text) != len(a.Score):
		return data.Record{}, errors.New("it has another number of answers than of scores")
	}
	r := data.Record{Input: row.Title, Source: row.Subreddit}
	if row.SelfText != "" {
		r.Input += "\n" + row.SelfText
	}
	best := 0
	for i, score := range a.Score {
		if score > a.Score[best] {
			best = i
		}
	}
	if len(a.Text) > 0 {
		r.Output = a.Text[best]
	}
	return r, nil
}
