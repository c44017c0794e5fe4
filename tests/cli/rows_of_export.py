"""The rows of ``test_wiring.py`` about exports."""

EXPORT, SEARCH = "inference.export:export", "data.search:search_images"
EXPORTING = [
    (
        "export K -o m.onnx",
        EXPORT,
        {
            "kb": "K",
            "path": "m.onnx",
            "format": "onnx",
            "precision": "fp32",
            "size": None,
            "images": [],
            "options": {},
            "scorer": None,
            "working_size": None,
        },
    ),
    (
        "export K -o m.xml --precision int8 --size 48x64 --tile --licence CC0",
        EXPORT,
        {"format": "openvino", "precision": "int8", "size": [48, 64], "licence": "CC0", "options": {"tile": True}},
    ),
    (
        "export K -o m.onnx --scorer joint --working-size 320 --images a",
        EXPORT,
        {"scorer": "joint", "working_size": 320, "images": ["read a"]},
    ),
    ("export K -o m.bin --format torch", EXPORT, {"format": "torch"}),
    ("export K -o m.onnx --images a --images b --recursive", SEARCH, {"names": ["a", "b"], "recursive": True}),
    ("export K -o m.onnx --images a", EXPORT, {"images": ["read a"]}),
]
