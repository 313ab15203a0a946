// Renders deploy/helm as Helm does, by the libraries that Helm itself is made of: Go's templates and sprig.
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run render.go CHART [VALUES]
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

type values = map[string]interface{}

type files struct{ chart string }

func (f files) Get(name string) string {
	return string(must(os.ReadFile(filepath.Join(f.chart, name))))
}

func must(data []byte, err error) []byte {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return data
}

func read(path string) values {
	read := values{}
	must(nil, yaml.Unmarshal(must(os.ReadFile(path)), &read))
	return read
}

func merge(base, over values) {
	for key, value := range over {
		inner, isTable := value.(values)
		if under, known := base[key].(values); known && isTable {
			merge(under, inner)
		} else {
			base[key] = value
		}
	}
}

func main() {
	chart := os.Args[1]
	given := read(filepath.Join(chart, "values.yaml"))
	if len(os.Args) > 2 {
		merge(given, read(os.Args[2]))
	}
	about := values{}
	for key, value := range read(filepath.Join(chart, "Chart.yaml")) {
		about[strings.ToUpper(key[:1])+key[1:]] = value
	}
	root := template.New("chart").Option("missingkey=zero")
	functions := sprig.TxtFuncMap()
	functions["toYaml"] = func(value interface{}) string {
		return strings.TrimSuffix(string(must(yaml.Marshal(value))), "\n")
	}
	functions["include"] = func(name string, data interface{}) (string, error) {
		var out bytes.Buffer
		err := root.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	root.Funcs(functions)
	paths, _ := filepath.Glob(filepath.Join(chart, "templates", "*"))
	for _, path := range paths {
		_, err := root.New(filepath.Base(path)).Parse(string(must(os.ReadFile(path))))
		must(nil, err)
	}
	data := values{
		"Values":  given,
		"Chart":   about,
		"Release": values{"Name": "pond", "Namespace": "builds", "Service": "Helm"},
		"Files":   files{chart},
	}
	for _, path := range paths {
		name := filepath.Base(path)
		if !strings.HasSuffix(name, ".yaml") && name != "NOTES.txt" {
			continue
		}
		var out bytes.Buffer
		must(nil, root.ExecuteTemplate(&out, name, data))
		text := strings.ReplaceAll(out.String(), "<no value>", "")
		if name == "NOTES.txt" {
			fmt.Fprint(os.Stderr, text)
		} else {
			fmt.Printf("---\n# %s\n%s\n", name, text)
		}
	}
}
