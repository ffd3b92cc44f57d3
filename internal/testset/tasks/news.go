package tasks

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/longform-go/longform/data"
)

// news is articles in several languages as MLSUM (Scialom et al., 2020) has them, with title and text; sources are languages.
//
// That the paper measures news generation in several languages is known, and that LongForm's model cards name German, Italian,
// Spanish and French. Its articles, prompts and figures aren't: set and prompts are chosen here.
var news = Task{
	Name:         "news",
	Files:        "articles with title and text, as MLSUM's; the language in a field language or in the file's name",
	Instructions: "in the article's language, to write a news article with its title; the text",
	records: func(source string, take func(data.Record) error) error {
		return rows(source, article, take)
	},
}

// newsPrompts ask for an article with a title.
var newsPrompts = map[string]string{
	"de": "Schreiben Sie einen Nachrichtenartikel mit dem Titel: ",
	"en": "Write a news article with the title: ",
	"es": "Escriba un artículo periodístico con el título: ",
	"fr": "Rédigez un article de presse dont le titre est : ",
	"it": "Scrivi un articolo di giornale dal titolo: ",
	"ru": "Напишите новостную статью с заголовком: ",
	"tr": "Şu başlıkla bir haber yazın: ",
}

// languages are other names of them; MLSUM calls Turkish tu.
var languages = map[string]string{
	"german": "de", "english": "en", "spanish": "es", "french": "fr", "italian": "it", "russian": "ru", "turkish": "tr", "tu": "tr",
}

type newsRow struct {
	Title    string `json:"title" parquet:"title,optional"`
	Text     string `json:"text" parquet:"text,optional"`
	Language string `json:"language" parquet:"language,optional"`
}

func article(path string, row newsRow) (data.Record, error) {
	if row.Title == "" {
		return data.Record{}, errors.New("it has no title; give articles with title and text")
	}
	language := languageIn(row.Language)
	if row.Language == "" {
		if language = languageIn(filepath.Base(path)); language == "" {
			language = languageIn(filepath.Base(filepath.Dir(path)))
		}
	}
	if language == "" {
		return data.Record{}, fmt.Errorf("its language is %q; give it one of de, en, es, fr, it, ru, tr in its field language, or in the file's name as in de.jsonl", row.Language)
	}
	return data.Record{Input: newsPrompts[language] + row.Title, Output: row.Text, Source: language}, nil
}

var nameParts = regexp.MustCompile(`[A-Za-z]+`)

// languageIn is the language that a name names, as in "de_test.jsonl", or none.
func languageIn(name string) string {
	for _, part := range nameParts.FindAllString(strings.ToLower(name), -1) {
		if other, ok := languages[part]; ok {
			part = other
		}
		if newsPrompts[part] != "" {
			return part
		}
	}
	return ""
}
