# Judges what render.go printed: the values by the chart's schema, as Helm does before it renders, and then each object of Kubernetes
# itself by the schemas of Kubernetes, strictly. Prints complaints; `check.py SCHEMA VERSION...`.
import json
import sys

import jsonschema
import kubernetes_validate

rendered = json.load(sys.stdin)
schema = json.load(open(sys.argv[1]))
for complaint in jsonschema.Draft7Validator(schema).iter_errors(rendered["values"]):
    print(f"refused: {complaint.json_path}: {complaint.message}")
for found in rendered["objects"]:
    # What Prometheus' operator adds has no schema here.
    if found["apiVersion"].startswith("monitoring.coreos.com/"):
        continue
    for version in sys.argv[2:]:
        try:
            kubernetes_validate.validate(found, version, strict=True)
        except Exception as complaint:
            print(f"{found['kind']} {found['metadata']['name']} in {version}: {complaint}")
