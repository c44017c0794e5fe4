def test_a_data_set_without_defaults_needs_a_knowledge_base_and_a_class(run_cli, fails, stored_kb, own_data, tmp_path):
    data = ("--data", own_data, "-o", tmp_path / "demo")
    assert "give --kb" in fails("demo", *data)
    code, out, err = run_cli("demo", *data, "--kb", stored_kb, "--learn", "rock")
    assert code == 0 and "report.html" in out and "owseg rollback" in out and "5/5" in err
    assert (tmp_path / "demo" / "report.html").exists()
