"""The OpenAPI document as one page: no script, nothing from elsewhere."""

from typing import Any

import jinja2
from markupsafe import Markup

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ info.title }} API</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
         color: #1c1c1c; background: #fff }
  code, th { font-family: ui-monospace, monospace; font-size: .875rem }
  h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc } h3 code { font-size: 1rem }
  table { border-collapse: collapse; width: 100% }
  th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0 }
  th { font-weight: 600 } .method { color: #0a5c36 } .note { color: #666 }
  @media (prefers-color-scheme: dark) {
    body { color: #e6e6e6; background: #161616 } .method { color: #7ad7a5 } .note { color: #999 }
  }
</style>
<h1>{{ info.title }} API <small class="note">{{ info.version }}</small></h1>
<p>The machine-readable form is <a href="/openapi.json">openapi.json</a>.</p>
{%- for path, method, operation in operations %}
<section id="{{ operation.operationId }}">
<h3><code><span class="method">{{ method | upper }}</span> {{ path }}</code></h3>
<p>{{ operation.summary }}
{%- if "description" in operation %} <span class="note">{{ operation.description }}</span>{% endif %}</p>
{%- if operation.requestBody %}
<p>Body: {{ link(operation.requestBody.content["application/json"].schema) }}</p>
{%- endif %}
<p>Answers:
{%- for status, answer in operation.responses.items() %}
{%- for media_type, content in answer.content.items() if status == "200" %} <code>{{ media_type }}</code>
{%- if "$ref" in content.schema %} {{ link(content.schema) }}{% endif %}{% if not loop.last %},{% endif %}
{%- endfor %}
{%- endfor %}; errors
{%- for status in operation.responses if status != "200" %} {{ status }}{% endfor %}.</p>
</section>
{%- endfor %}
<h2>Shapes</h2>
{%- for name, schema in schemas.items() %}
<section id="{{ name }}">
<h3><code>{{ name }}</code></h3>
{%- if schema.description %}
<p>{{ schema.description }}</p>
{%- endif %}
<table>
{%- for field, about in schema.properties.items() %}
<tr><th>{{ field }}{% if field in schema.get("required", []) %} *{% endif %}</th>
<td>{{ kind(about) }}</td><td>{{ about.description or "" }}</td></tr>
{%- endfor %}
</table>
</section>
{%- endfor %}
</html>
"""
_BOUNDS = {
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "exclusiveMinimum": "> {}",
    "exclusiveMaximum": "< {}",
    "minLength": "length ≥ {}",
    "maxLength": "length ≤ {}",
    "maxItems": "at most {}",
    "minItems": "at least {}",
}


def page(document: dict[str, Any]) -> str:
    """The HTML of ``openapi.document``'s result."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.globals.update(link=_link, kind=_kind)
    operations = [
        (path, method, each) for path, methods in document["paths"].items() for method, each in methods.items()
    ]
    schemas = {name: {"description": "", **schema} for name, schema in document["components"]["schemas"].items()}
    for schema in schemas.values():
        schema["properties"] = {
            name: {"description": "", **field} for name, field in schema.get("properties", {}).items()
        }
    operations = [(path, method, {"requestBody": None, **each}) for path, method, each in operations]
    template = environment.from_string(_PAGE)
    return template.render(info=document["info"], operations=operations, schemas=schemas)


def _link(schema: dict[str, Any]) -> Markup:
    name = schema["$ref"].rpartition("/")[2]
    return Markup('<a href="#{0}"><code>{0}</code></a>').format(name)


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if "const" in schema:
        return f'"{schema["const"]}"'
    if "enum" in schema:
        return ", ".join(f'"{one}"' for one in schema["enum"])
    words = [str(schema.get("type", "any"))]
    if schema.get("type") == "array":
        words = [f"list of {_kind(schema.get('items', {}))}"]
    bounds = [form.format(schema[name]) for name, form in _BOUNDS.items() if name in schema]
    return ", ".join([*words, *bounds])
