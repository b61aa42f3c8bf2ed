"""From a run and a carrier to the form its messages are written in. Once per run and carrier, never per message."""

from _fastpath.outbound import Form
from _fastpath.template import Template
from gateway.config import CarrierSettings
from gateway.errors import EncodeError


def form_of(template: str, carrier: CarrierSettings) -> Form:
    """Compile a template for a carrier.

    raises  EncodeError: the template is not of the compiled grammar, or the carrier's settings do not fit submit_sm
    """
    try:
        return Form(
            Template(template),
            source=carrier.source,
            source_ton=carrier.source_ton,
            source_npi=carrier.source_npi,
            dest_ton=carrier.dest_ton,
            dest_npi=carrier.dest_npi,
            plus=carrier.plus,
            service_type=carrier.service_type,
            esm_class=carrier.esm_class,
            protocol_id=carrier.protocol_id,
            priority_flag=carrier.priority_flag,
            registered_delivery=carrier.registered_delivery,
            alphabets=carrier.alphabets,
            data_coding={str(name): code for name, code in carrier.data_coding.items()},
            concatenation=carrier.concatenation,
            max_parts=carrier.max_parts,
            grapheme=carrier.grapheme,
        )
    except ValueError as error:
        raise EncodeError(str(error)) from error
