"""Run by `langchain`, in an environment that has LangChain.

Left out: what needs tools, until the gateway has them; images, sounds and PDFs, which the tests
fetch from the internet; JSON mode, where the shape stands in words that only a real model reads.
"""

from __future__ import annotations

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestGateway(ChatModelIntegrationTests):
    has_tool_calling = False
    has_tool_choice = False
    supports_image_inputs = False
    model_override_value = "agency/1"

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, object]:
        return {"model": "example", "max_retries": 0, "stream_usage": True}

    @pytest.mark.xfail(
        strict=True, reason="For a model of pydantic 1 LangChain wants a tool called."
    )
    def test_structured_output_pydantic_2_v1(self, model: BaseChatModel) -> None:
        super().test_structured_output_pydantic_2_v1(model)
