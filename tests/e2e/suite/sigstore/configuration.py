"""Rules in Assay's words: as a part of proxy.toml, and as arguments of `assay verify`.

A registry is the upstream of several names: the cases about one image take turns, each under another name. So an
image can be judged by many rules, and nothing learned in one case is known in another.
"""

import json


def upstream_name(case, registry):
    return f"turn{case.turn}.{registry.name}"


def upstreams(cases, registries):
    urls = {upstream_name(case, registry): registry.address for registry in registries for case in cases}
    return "".join(f'[upstream."{name}"]\nurl = "http://{address}"\n' for name, address in urls.items())


def trust(files):
    roots = "".join(f"{name} = {quoted(path)}\n" for name, path in files.roots.items() if name)
    return f"[trust]\nroot = {quoted(files.roots[''])}\n[trust.roots]\n{roots}"


def policies(cases, registries, files):
    return "".join(policy(case, registries, files) for case in cases)


def policy(case, registries, files):
    rule = case.rule
    images = ", ".join(quoted(f"{upstream_name(case, registry)}/{case.image}") for registry in registries)
    lines = ["[[policy]]", f"name = {quoted(case.name)}", f"images = [{images}]"]
    if not rule.tlog:
        lines.append('tlog = "off"')
    if rule.root:
        lines.append(f"trust_root = [{quoted(rule.root)}]")
    if rule.annotations:
        lines.append(f"annotations = {table(rule.annotations)}")
    lines.append("[[policy.signer]]")
    if rule.key:
        lines.append(f"key = {quoted(files.keys[rule.key])}")
    else:
        lines.append(f"issuer = {quoted(files.issuer(rule.issuer))}")
        if rule.identity:
            lines.append(f"identity = {quoted(rule.identity)}")
        if rule.identity_regexp:
            lines.append(f"identity_regexp = {quoted(rule.identity_regexp)}")
        if rule.claims:
            lines.append(f"claims = {table(rule.claims)}")
    for predicate in rule.attestations:
        lines += ["[[policy.attestation]]", f"type = {quoted(predicate.type)}"]
    return "\n".join(lines) + "\n"


def arguments(rule, files):
    """Of `assay verify`: each question that it takes to ask for all that the rule wants."""
    words = ["--trust-root", files.roots[rule.root]]
    if rule.key:
        words += ["--key", files.keys[rule.key]]
    else:
        words += ["--issuer", files.issuer(rule.issuer)]
        words += ["--identity", rule.identity] if rule.identity else ["--identity-regexp", rule.identity_regexp]
    if not rule.tlog:
        words += ["--tlog", "off"]
    for name, value in rule.claims:
        words += ["--claim", f"{name}={value}"]
    signature = [word for name, value in rule.annotations for word in ("--annotation", f"{name}={value}")]
    attested = [word for predicate in rule.attestations for word in ("--attestation", predicate.type)]
    return [words + signature] + ([words + attested] if attested else [])


def table(pairs):
    return "{ " + ", ".join(f"{name} = {quoted(value)}" for name, value in pairs) + " }"


def quoted(value):
    return json.dumps(str(value))   # what JSON escapes, TOML reads alike
