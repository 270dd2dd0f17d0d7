__version__: str

# Instruction sets (src/bind_cpu.cpp)

def available_isas() -> list[str]: ...
def isa() -> str: ...
def set_isa(name: str) -> None: ...

# Text and projection (src/bind_text.cpp)

# Recurrence on raw addresses (src/bind_ops.cpp)

# Inference (src/bind_model.cpp)
