"""Sluice: an SMS campaign gateway.

The floors, from the ground up; a module imports only from lower ones or from its own room (tests/house/test_floors.py):

    0  _fastpath                                    octets and batches, compiled
    1  message  errors  events  logs  countries  routing  profiles  secret  keywords  config   nouns
    1  reasons  person  rules  gate  predicate  consent  brand  suppression  rfm  erasure    and those of campaigns
    1  templatetext  template                       what a message says
    1  experiment                                   who gets which of the things that are compared
    1  delay  document  happening  recipe           what campaigns are written in
    1  rate                                         how fast a run goes
    1  link  page                                   where messages lead
    1  question  inbox  cards                       what is asked and answered
    1  coupon  content  product                     what they offer
    1  goal  reporting                              what they are for, and what numbers are counted by
    1  webhook                                      what other systems are told
    2  campaign | smpp | store                      pillars, which never import one another
    3  dispatch | automation                        engines
    4  contacts  simulator  codec  metrics  redirect  doors (api, dashboard): people, programs and test traffic come in
    5  app                                          builds everything once, starts in order, stops in reverse
    6  commands  __main__                           the command line
"""

__version__ = "0.1.0"
