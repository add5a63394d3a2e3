// The server's OpenAPI description as a page.

const place = document.getElementById("paths");
const make = (kind, text, name = "") => Object.assign(document.createElement(kind), { textContent: text, className: name });
const plain = (text) => (text ?? "").replaceAll("`", "").replace(/([^\n])\n(?!\n)/g, "$1 ");

function rows(operation, schemas) {
  const named = (operation.parameters ?? []).map(({ name, schema, description, in: where }) => [name, schema, description, where]);
  for (const [kind, { schema }] of Object.entries(operation.requestBody?.content ?? {})) {
    const form = schemas[schema?.$ref?.split("/").at(-1)];
    if (!form) named.push(["body", {}, kind, ""]);
    for (const [name, field] of Object.entries(form?.properties ?? {})) named.push([name, field, field.description, "form"]);
  }
  return named.map(([name, field, description, where]) => {
    const values = field?.enum ?? field?.anyOf?.map(({ type }) => type) ?? [field?.type ?? ""];
    return [name, where, values.join(", "), description ?? ""];
  });
}

const { paths, components } = await (await fetch("/openapi.json")).json();
for (const [path, methods] of Object.entries(paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    const article = document.createElement("article");
    const head = make("h3", "");
    head.append(make("span", method.toUpperCase(), "method"), make("code", path), ` ${operation.summary}`);
    const table = document.createElement("table");
    for (const cells of rows(operation, components?.schemas ?? {})) {
      const row = table.insertRow();
      cells.forEach((cell, i) => row.insertCell().append(i ? cell : make("code", cell)));
    }
    article.append(head, make("p", plain(operation.description)), ...(table.rows.length ? [table] : []));
    place.append(article);
  }
}
