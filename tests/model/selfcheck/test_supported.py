"""The table of supported families is what the self-check finds, and a stranger's family is told what is wrong."""

from __future__ import annotations

import pytest
import transformers

import attrib_widgets as aw
from attrib_widgets.model.anatomy.anatomy import with_changes
from attrib_widgets.model.anatomy.families import FAMILIES
from attrib_widgets.model.selfcheck import supported
from attrib_widgets.model.selfcheck.specimen import small_tokenizer, specimen


def test_the_table_is_what_a_fresh_run_finds():
    table = aw.supported()
    if table.transformers != transformers.__version__:
        pytest.skip(f"the table was made with transformers {table.transformers}")
    fresh = [supported.Family(**row) for row in supported.fresh()["families"]]
    assert [row.family for row in fresh] == [row.family for row in table.rows]
    different = [(old, new) for old, new in zip(table.rows, fresh, strict=True) if old != new]
    assert not different, "run python -m attrib_widgets.model.selfcheck.supported --write"


def test_every_family_that_is_written_down_is_exact_per_head():
    table = aw.supported()
    for family in FAMILIES:
        row = table[family]
        assert row.known and row.exact_per == "head" and row.inside in ("neurons", "experts"), row
        assert not row.reason, row


def test_what_is_coarse_says_why():
    for row in aw.supported().rows:
        if row.exact_per != "head":
            assert len(row.reason) > 20, row


def test_the_table_reads_as_one():
    table = aw.supported()
    assert "llama" in table.exact_per("head") and "mamba" in table.exact_per("layer")
    assert sum(int(line.split()[-1]) for line in repr(table).splitlines() if line.split()[-1].isdigit()) == len(
        table.rows
    )
    frame = table.to_dataframe()
    splits = ["heads", "sources", "values", "scores", "experiments"]
    assert list(frame.columns) == ["family", "exact_per", *splits, "mixers", "inside", "known", "reason"]
    counted = frame[frame["exact_per"] == "head"]
    assert all(heads == every and heads for heads, every in zip(counted["heads"], counted["experiments"], strict=True))
    assert "hybrids" in repr(table) and table.transformers in repr(table)
    with pytest.raises(aw.AttribError, match="self-check"):
        table["a_family_of_tomorrow"]


def test_a_report_has_the_numbers():
    model = aw.load(specimen("gpt2"), tokenizer=small_tokenizer())
    report = model.report()
    assert report.numbers == model.check.numbers and report.reasons == []
    for question in ("read-out", "embedding", "stream", "heads", "attention", "MLP input"):
        assert question in repr(report)
    assert set(report.to_dataframe()["passes"]) == {True}


def test_a_report_of_a_coarse_model_says_why():
    report = aw.load(specimen("gpt2"), tokenizer=small_tokenizer(), anatomy={"mlp_in": "mlp.c_proj"}).report()
    assert any("neurons" in reason for reason in report.reasons)
    report = aw.load(specimen("deepseek_v3"), tokenizer=small_tokenizer()).report()
    assert "per head" in repr(report) and any("no projection of what" in reason for reason in report.reasons)
    report = aw.load(specimen("diffllama"), tokenizer=small_tokenizer()).report()
    assert "per sublayer" in repr(report) and any("heads are not shown" in reason for reason in report.reasons)


def test_the_command_tells_a_stranger_what_is_wrong(capsys):
    assert supported.main(["llama"]) == 0
    assert "exact per head" in capsys.readouterr().out
    assert supported.main(["deepseek_v3"]) == 1
    assert "attention could not be recomputed" in capsys.readouterr().out
    assert supported.main(["no_such_family"]) == 1
    assert "transformers has no" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"qkv.rotary": "interleaved"}, "not what the heads wrote"),
        ({"mlp_norm": "input_layernorm"}, "does not read input_layernorm"),
        ({"attn_out": "self_attn.out_proj"}, "self_attn.out_proj"),
    ],
)
def test_a_wrong_line_is_told_though_the_names_of_the_modules_would_do(monkeypatch, capsys, changes, says):
    wrong = with_changes(FAMILIES["llama"][0], changes)
    monkeypatch.setitem(FAMILIES, "llama", (wrong,))
    supported.main(["llama"])
    assert says in capsys.readouterr().out
    told = supported.tried("llama")
    assert (told.exact_per, told.inside, told.reason) != ("head", "neurons", "") and says in told.reason
