"""Which commands are refused, since they would change somebody's Cloudflare account."""

import shlex

import pytest

from lowcloud.cli.deploys import DEPLOYS, Verdict, judge

SCRIPTS = {
    "dev": "wrangler dev",
    "deploy": "wrangler deploy",
    "ship": "npm run build && npm run deploy",
    "postbuild": "wrangler pages deploy ./dist",
    "build": "vite build",
    "test": "vitest",
    "again": "npm run again",
    "any": "wrangler",
    "lint": "eslint . ; (cd sub && npx wrangler versions upload)",
    "elsewhere": "npm run nowhere",
}


@pytest.mark.parametrize("deploy", DEPLOYS, ids=" ".join)
def test_each_of_wranglers_commands_that_change_an_account_is_refused(deploy):
    assert judge(["npx", "wrangler", *deploy, "--dry-run"], {}) == Verdict(refused=" ".join(("wrangler", *deploy)))


@pytest.mark.parametrize(
    "line",
    [
        "wrangler deploy",
        "npx wrangler deploy",
        "npx --yes wrangler@4.85.0 deploy",
        "npx -p wrangler@latest -- wrangler deploy",
        "npx -c 'wrangler deploy'",
        "npm exec -- wrangler deploy",
        "npm exec wrangler -- deploy",
        "pnpm wrangler deploy",
        "pnpm exec wrangler deploy",
        "pnpm dlx wrangler deploy",
        "yarn wrangler deploy",
        "yarn dlx wrangler deploy",
        "bunx wrangler deploy",
        "bun x wrangler deploy",
        "node_modules/.bin/wrangler deploy",
        "node ./node_modules/wrangler/bin/wrangler.js deploy",
        "node node_modules/wrangler/wrangler-dist/cli.js deploy",
        "env A=b wrangler deploy",
        "wrangler -c other.jsonc --env production deploy src/index.ts",
        "wrangler --config=other.jsonc deploy",
        "sh -c 'npm test && npx wrangler deploy'",
        "sh -c 'npm test&&wrangler deploy;'",
        """sh -c 'sh -c "wrangler deploy"'""",
        "npm run deploy",
        "npm run-script deploy",
        "yarn deploy",
        "pnpm deploy",
        "bun run deploy",
        "npm run any -- deploy",
        "npm --loglevel silent run deploy",
    ],
)
def test_a_deploy_is_refused_behind_whatever_starts_it(line):
    assert judge(shlex.split(line), SCRIPTS) == Verdict(refused="wrangler deploy")


@pytest.mark.parametrize(
    ("line", "refused"),
    [
        ("npm run build", "wrangler pages deploy"),
        ("npm run ship", "wrangler pages deploy"),
        ("npm run lint", "wrangler versions upload"),
    ],
)
def test_a_scripts_hooks_and_every_command_in_it_count(line, refused):
    assert judge(shlex.split(line), SCRIPTS) == Verdict(refused=refused)


@pytest.mark.parametrize(
    "line",
    [
        "wrangler dev",
        "npx wrangler dev -c a.jsonc -c b.jsonc",
        "npx wrangler dev --name deploy",
        "wrangler dev --env deploy",
        "wrangler -e deploy dev",
        "wrangler pages dev ./dist",
        "wrangler versions list",
        "wrangler types",
        "wrangler",
        "vitest run deploy",
        "npm run dev",
        "npm test",
        "npm t",
        "yarn dev",
        "yarn vitest",
        "pnpm vite dev",
        "bun test",
        "python -c 'print(\"deploy\")'",
        "sh -c 'echo it'",
        "sh -c 'echo \"an open quote'",
    ],
)
def test_what_runs_here_is_let_through(line):
    assert judge(shlex.split(line), SCRIPTS) == Verdict()


@pytest.mark.parametrize(
    ("line", "unseen"),
    [
        ("npm run nowhere", "nowhere"),
        ("npm start", "start"),
        ("npm run elsewhere", "nowhere"),
        ("npm run again", "again"),
        ("sh -c 'npm run nowhere; vitest'", "nowhere"),
    ],
)
def test_a_script_that_is_not_known_is_named(line, unseen):
    assert judge(shlex.split(line), SCRIPTS) == Verdict(unseen=unseen)
