// Renders a chart as Helm's engine does, with the libraries that Helm has its functions from, for machines without Helm:
// `render CHART RELEASE NAMESPACE [VALUES...]` prints the values, the objects and the notes as JSON. Later files of values go before
// earlier ones. It knows what one chart without dependencies needs; `lookup` finds nothing, as in `helm template`.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

type table = map[string]interface{}

// Helm's own expression.
var separator = regexp.MustCompile(`(?:^|\s*\n)---\s*`)

type files struct{ chart string }

// Get gives an empty text for a file that is not there, as Helm does.
func (f files) Get(name string) string {
	text, _ := os.ReadFile(filepath.Join(f.chart, name))
	return string(text)
}

type versions []string

func (v versions) Has(wanted string) bool {
	for _, version := range v {
		if version == wanted {
			return true
		}
	}
	return false
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Without UseNumber: numbers are floats to templates, as Helm's values files have them.
func read(file string) table {
	text, err := os.ReadFile(file)
	check(err)
	found := table{}
	check(yaml.UnmarshalStrict(text, &found))
	return found
}

// Tables are merged, everything else is replaced, and null takes a default away.
func merge(below, above table) table {
	for key, value := range above {
		inner, isTable := value.(table)
		under, wasTable := below[key].(table)
		if value == nil {
			delete(below, key)
		} else if isTable && wasTable {
			below[key] = merge(under, inner)
		} else {
			below[key] = value
		}
	}
	return below
}

func functions(all *template.Template) template.FuncMap {
	found := sprig.TxtFuncMap()
	// Helm has them not, so that a chart renders alike everywhere.
	delete(found, "env")
	delete(found, "expandenv")
	execute := func(which *template.Template, name string, values interface{}) (string, error) {
		var text strings.Builder
		err := which.ExecuteTemplate(&text, name, values)
		return strings.ReplaceAll(text.String(), "<no value>", ""), err
	}
	found["include"] = func(name string, values interface{}) (string, error) { return execute(all, name, values) }
	found["tpl"] = func(text string, values interface{}) (string, error) {
		copied, err := all.Clone()
		if err != nil {
			return "", err
		}
		if _, err = copied.New("tpl").Parse(text); err != nil {
			return "", err
		}
		return execute(copied, "tpl", values)
	}
	found["required"] = func(complaint string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, errors.New(complaint)
		}
		return value, nil
	}
	found["lookup"] = func(string, string, string, string) table { return table{} }
	found["toYaml"] = func(value interface{}) string {
		text, err := yaml.Marshal(value)
		if err != nil {
			return ""
		}
		return strings.TrimSuffix(string(text), "\n")
	}
	found["fromYaml"] = func(text string) table {
		value := table{}
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			value["Error"] = err.Error()
		}
		return value
	}
	return found
}

func main() {
	if len(os.Args) < 4 {
		check(errors.New("render CHART RELEASE NAMESPACE [VALUES...]"))
	}
	chart, values := os.Args[1], read(filepath.Join(os.Args[1], "values.yaml"))
	for _, file := range os.Args[4:] {
		values = merge(values, read(file))
	}
	about := table{}
	for key, value := range read(filepath.Join(chart, "Chart.yaml")) {
		about[strings.ToUpper(key[:1])+key[1:]] = value
	}
	given := table{
		"Values": values,
		"Chart":  about,
		"Files":  files{chart},
		"Release": table{
			"Name": os.Args[2], "Namespace": os.Args[3], "Service": "Helm", "Revision": 1, "IsInstall": true, "IsUpgrade": false,
		},
		"Capabilities": table{
			"APIVersions": versions{"v1", "apps/v1", "policy/v1", "networking.k8s.io/v1", "monitoring.coreos.com/v1"},
			"KubeVersion": table{"Version": "v1.31.0", "Major": "1", "Minor": "31"},
		},
	}
	all := template.New("chart").Option("missingkey=zero")
	all.Funcs(functions(all))
	names, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	check(err)
	sort.Strings(names)
	for _, name := range names {
		text, err := os.ReadFile(name)
		check(err)
		_, err = all.New(filepath.Base(name)).Parse(string(text))
		check(err)
	}
	objects, notes := []table{}, ""
	for _, path := range names {
		name := filepath.Base(path)
		if strings.HasPrefix(name, "_") {
			continue
		}
		var text strings.Builder
		given["Template"] = table{"Name": name, "BasePath": "templates"}
		check(all.ExecuteTemplate(&text, name, given))
		rendered := strings.ReplaceAll(text.String(), "<no value>", "")
		if name == "NOTES.txt" {
			notes = rendered
			continue
		}
		for _, part := range separator.Split(rendered, -1) {
			object := table{}
			// Strictly: a key that is there twice is a mistake.
			if err := yaml.UnmarshalStrict([]byte(part), &object); err != nil {
				check(fmt.Errorf("%s: %w in\n%s", name, err, part))
			}
			if len(object) > 0 {
				objects = append(objects, object)
			}
		}
	}
	check(json.NewEncoder(os.Stdout).Encode(table{"values": values, "objects": objects, "notes": notes}))
}
