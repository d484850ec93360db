"""Sentences that state a fact of one category, sentences that state none, and conversations made of them.

The writer fills templates, the reader recognises them again: together they are a teacher whose conversations have
known labels, and text from which a classifier can learn the categories. Nothing here is meant to be deep.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Final

__all__ = ["LOOKALIKES", "STATEMENTS", "Message", "reader", "recognised", "render", "sentences", "words_of", "write"]

Message = dict[str, str]


def _list(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split("|"))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


_COUNTS = _list("two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|twenty")

SLOTS: Final[Mapping[str, tuple[str, ...]]] = {
    "audience": _list(
        "first-time buyers|young families|night-shift nurses|school caterers|small landlords|weekend cyclists|"
        "retired teachers|dog owners|new graduates|site managers|hobby bakers|choir leaders|amateur climbers"
    ),
    "banned": _list(
        "synergy|revolutionary|cutting-edge|luxury|hack|disruptive|world-class|premium|unlock|game-changing|"
        "effortless|best-in-class|iconic"
    ),
    "belief": _list(
        "people decide with their ears|trust is built in small steps|a dull fact beats a clever line|"
        "customers forgive a late answer but no wrong one|nobody reads past the second paragraph|"
        "habits sell more than offers|a good example replaces ten claims|the first sentence does all the work|"
        "fewer channels make better work|listening beats planning|every complaint hides a product idea|"
        "a small list of friends outsells a big list of strangers"
    ),
    "big": _list("thirteen|fourteen|sixteen|seventeen|eighteen|nineteen|21|22|23|24|26|28|30"),
    "boss": _list(
        "managing director|commercial director|chief of staff|vice president of sales|finance director|"
        "general manager|head of operations|purchasing manager|board secretary|founder|chief executive|plant manager"
    ),
    "browser": _list(
        "Firefox|Chrome|Safari|Edge|Opera|Brave|Vivaldi|Chromium|Firefox ESR|Arc|Samsung Internet|Waterfox"
    ),
    "carrier": _list(
        "box|van|invoice|shop window|label|receipt|brochure|business card|parcel|poster|tote bag|delivery note"
    ),
    "cause": _list(
        "the wrong size chart|late parcels|a faulty zip|misleading photos|the colour|double orders|broken lids|"
        "missing screws|the smell|unclear instructions|slow refunds|thin packaging"
    ),
    "channel": _list(
        "email|Instagram|paid search|LinkedIn|podcast ads|TikTok|direct mail|local radio|YouTube|affiliates|"
        "trade fairs|print ads|Pinterest|billboards"
    ),
    "code": _list("E17|504|0x80|E231|403|C9|1045|X-12|E88|T404|7001|B52|302"),
    "colour": _list(
        "dark green|mustard|navy|cream|brick red|slate grey|copper|sky blue|olive|charcoal|apricot|bottle green|sand"
    ),
    "count": _COUNTS,
    "date": _list(
        "3 March|14 May|9 June|21 September|1 October|17 November|30 April|12 January|25 August|6 July|28 February|"
        "11 December|19 May|8 April"
    ),
    "day": _list(
        "Monday morning|Monday afternoon|Tuesday morning|Tuesday afternoon|Wednesday morning|Wednesday afternoon|"
        "Thursday morning|Thursday afternoon|Friday morning|Friday afternoon|Sunday evening|Thursday evening"
    ),
    "depth": _list(
        "worked examples|the short version|only the result|hard figures|the next step first|one clear verdict|"
        "the main point in bold|real sentences|sources with links|the numbers in a row|comparisons|concrete wording"
    ),
    "dept": _list("office@|service@|team@|it@|desk@|accounts@|help@|admin@|front@|house@|support-in@|tech@"),
    "doc": _list(
        "welcome playbook|tone guide|pricing one-pager|launch checklist|press kit|question template|survey report|"
        "crisis manual|trade-fair handbook|partner deck|photo guide|rebuttal sheet|briefing form|persona deck"
    ),
    "element": _list(
        "headline|second paragraph|closing line|subject line|chart|first sentence|footer|caption|title|example|"
        "summary|middle part|table|quote|button text"
    ),
    "feature": _list(
        "single sign-on|a dark mode|an audit trail|bulk editing|offline use|a proper search|batch export|"
        "two-factor login|a public API|shared calendars|a German interface|barcode scanning"
    ),
    "field": _list(
        "the email address|the customer number|the phone number|the order number|the company domain|the tax number|"
        "the loyalty card|the postcode|the invoice number|the member code|the device id|the contract number"
    ),
    "folder": _list("Live|2024|Masters|Ready|Studio|Common|Blue|Core texts|Signed|Field|North|Handout"),
    "food": _list(
        "soup|noodles|a cheese sandwich|leftover curry|cold pizza|rice pudding|a pear|dumplings|lentils|apple cake|"
        "an omelette|a burrito|porridge"
    ),
    "format": _list(
        "bullet points|a table|numbered steps|plain paragraphs|two short paragraphs|a checklist|"
        "one headline and three lines|question and answer form|short sections with headings|a single paragraph|"
        "a list of pros and cons|a timeline"
    ),
    "gate": _list(
        "margin|legal risk|customer benefit|proof|shelf life|fit with the range|payback|effort|data protection|"
        "reach|supply|service load"
    ),
    "hook": _list(
        "a named author|real kitchens|short videos|customer letters|a price in the subject line|handwritten notes|"
        "before-and-after pictures|a free sample|maps|staff portraits|a countdown|simple drawings"
    ),
    "image": _list(
        "posed models|skylines|handshakes|stock smiles|empty desks|sunsets|rockets|light bulbs|gears|puzzle pieces|"
        "mountain tops|robots"
    ),
    "lang": _list(
        "British English|German|Portuguese|Spanish|Dutch|Danish|French|Swedish|Polish|Italian|Finnish|Czech|Greek"
    ),
    "medium": _list(
        "email|text message|WhatsApp|the ticket portal|Signal|Teams chat|letter|fax|the chat window|Slack|SMS|Telegram"
    ),
    "metric": _list(
        "open rate|click rate|cost per lead|repeat purchase rate|trial conversion|basket value|unsubscribe rate|"
        "demo rate|churn|return rate|footfall|reply rate|webinar attendance"
    ),
    "module": _list(
        "billing module|mobile app|sync client|stock module|booking calendar|web shop plugin|time clock|report builder|"
        "document archive|till software|payroll add-on|route planner|ticket desk"
    ),
    "money": _list(
        "2,000 euros|3,500 euros|5,000 euros|7,500 euros|9,000 dollars|12,000 euros|15,000 pounds|18,000 euros|"
        "20,000 dollars|25,000 euros|40,000 pounds|60,000 euros|1,200 dollars"
    ),
    "month": _list("January|February|March|April|May|June|July|August|September|October|November|December"),
    "n": tuple(str(n) for n in (2, 3, 4, 5, 6, 7, 9, 12, 13, 14, 16, 17, 19, 21, 23, 24, 27, 31, 34, 38, 42, 46)),
    "naming": _list(
        "country_channel_month|year-team-topic|region_product_goal|brand_week_format|audience-offer-date|"
        "quarter_channel_version|market_funnel_asset|source-medium-wave|line_region_season|code_theme_day|"
        "type_owner_start|store_event_year"
    ),
    "number": tuple(f"{n:,}" for n in (60, 75, 90, 120, 140, 150, 180, 220, 250, 300, 340, 400, 450, 600, 800, 1200)),
    "os": _list(
        "Windows 11|Windows Server 2022|Ubuntu 24.04|Debian 12|macOS Sonoma|Red Hat 9|Windows 10|Fedora|"
        "macOS Ventura|SUSE 15|ChromeOS|Android 14|iPadOS 17"
    ),
    "outcome": _list(
        "a customer calls to say thank you|the shop staff can explain it|the phone stays quiet|"
        "people bring a friend|nobody asks what it means|the sales desk runs out of leaflets|someone quotes it to me|"
        "old customers come back|the complaint pile shrinks|a stranger tells me about it|my mother understands it|"
        "the waiting list grows"
    ),
    "part": _list(
        "price table|opening|second chapter|image list|closing page|quotes|comparison|call to action|appendix|"
        "middle third|cover|footnotes|timeline"
    ),
    "partner": _list(
        "sparring partner|critic|devil's advocate|editor|second pair of eyes|coach|strict examiner|thinking partner|"
        "quality gate|honest colleague|skeptic|trainer"
    ),
    "person": _list(
        "Marta|Tobias|Ines|Kofi|Priya|Lars|Yuki|Rosa|Emil|Farah|Jonas|Noor|Pavel|Siobhan|Hugo|Amara|Tomasz|Leila"
    ),
    "piece": _list(
        "landing page|press release|brochure|webinar script|welcome mail|price page|case study|radio spot|"
        "fair stand|budget sheet|survey draft|briefing|product video|job advert"
    ),
    "place": _list(
        "the shared drive|Confluence|the intranet|SharePoint|the team wiki|Dropbox|the group folder|"
        "the green binder in the office|the project archive|the Box folder|GitBook|the sales portal"
    ),
    "plan": _list("Team|Business|Starter|Pro|Enterprise|Basic|Growth|Studio|Plus|Silver|Gold|Campus|Partner"),
    "postscript": _list(
        "a list of next steps|three sources|a one-line summary|the open questions|a word count|your confidence|"
        "the assumptions|a short recap|the page numbers|a translation of foreign words|a plain verdict|the key figure"
    ),
    "priority": _list(
        "trust|speed|craft|retention|reach|clarity|loyalty|profit|reputation|learning|simplicity|service|word of mouth"
    ),
    "product": _list(
        "spring box|refill kit|travel mug|night cream|family pass|starter set|trail shoe|desk lamp|rain jacket|"
        "tasting pack|garden bench|baking course|bike lock|cold brew"
    ),
    "quarter": _list(
        "the first quarter|the second quarter|the third quarter|the fourth quarter|the autumn season|"
        "the back-to-school weeks|the holiday season|the summer sale|the spring season|the next eight weeks|"
        "the run-up to Easter|the first half of the year"
    ),
    "region": _list(
        "Norway|Bavaria|Scotland|Navarre|Ontario|Queensland|Wales|Flanders|Tuscany|Latvia|Kerala|Galicia|Iowa"
    ),
    "rival": _list(
        "a cheaper provider|your biggest competitor|an open-source solution|a local vendor|another supplier|"
        "a rival product|the provider of our sister company|a newcomer from Berlin|our old system|"
        "a bundle from our bank|a tool of our own|an all-in-one suite"
    ),
    "routine": _list(
        "a call with the shops|an hour of reading comments|cleaning up my inbox|a walk through the numbers|"
        "sorting the photo queue|a round of one-to-ones|an hour of sketching|checking the ad accounts|"
        "a stand-up with the agency|planning the posts|reading the support log|updating the calendar"
    ),
    "salesman": _list(
        "salesman|lawyer|bank|textbook|talk show|tech start-up|lecturer|press officer|politician|motivational coach|"
        "robot|luxury house"
    ),
    "start": _list(
        "one real customer|the complaint log|a blank page|the price|a photo of the shelf|the sales calls|a worst case|"
        "a single sentence|the calendar|what we can stop|last year's mistakes|the people in the shop"
    ),
    "tag": _list("reg-a|loc_1|geo-x|zone4|area-n|fld_r|grp-south|mkt02|cl_west|rg-77|sec-b|ter_9"),
    "tagline": _list(
        "Made to be mended|Slow on purpose|Nothing to hide|Start where you are|Good for Tuesdays|Less, but yours|"
        "Close to home|Bring it back|Work with your hands|Quietly better|Made on Mondays|Keep it twice as long"
    ),
    "team": _list(
        "the design team|legal|the sales desk|customer care|finance|the warehouse crew|the regional leads|"
        "the product team|procurement|the press office|the studio|the data team|the shop managers"
    ),
    "thing": _list(
        "reports|invoices|attachments|calendar entries|customer photos|delivery notes|search results|order lists|"
        "time sheets|stock figures|price lists|notifications"
    ),
    "time": _list(
        "seven|half past seven|eight|half past eight|nine|half past nine|ten|half past ten|eleven|noon|two|three|"
        "half past three|four"
    ),
    "title": _list(
        "growth lead|brand manager|content lead|CRM specialist|marketing director|campaign manager|"
        "trade-fair coordinator|product marketer|social media manager|regional marketing lead|newsletter editor|"
        "communications officer|junior copywriter"
    ),
    "tool": _list(
        "HubSpot|Klaviyo|Mailchimp|Brevo|Salesforce|Pipedrive|Marketo|Airtable|Zapier|Looker|Hootsuite|Braze|Iterable"
    ),
    "topic": _list(
        "pricing|events|partner mailings|packaging|recruiting|the loyalty scheme|translations|sponsoring|photo shoots|"
        "reviews|product names|customer surveys|store openings"
    ),
    "uptime": _list("99.1|99.2|99.3|99.4|99.5|99.6|99.7|99.8|99.9|99.95|98.5|98.9"),
    "utm": _list(
        "src=field|ref=plain|utm_wave|cmp-id|origin=desk|utm_term|ref=box|src=print|utm_owner|lead_src|via=shop|utm_team"
    ),
    "value": _list(
        "repairability|honest prices|patience|fair wages|local sourcing|plain dealing|good craft|thrift|quiet service|"
        "open books|respect for sleep|second chances"
    ),
    "verb": _list("shorten|soften|simplify|sharpen|rewrite|check|split|reorder|trim|rephrase|tidy|brighten|tighten"),
    "version": _list("4.2|5.0|5.1|6.3|7.0|7.4|8.1|9.2|10.4|11.0|12.6|3.9|2024.2"),
    "voice": _list("plain|warm|dry|calm|playful|blunt|quiet|curious|precise|gentle|cheeky|patient|sober|neighbourly"),
    "weather": _list("raining|snowing|far too hot|foggy|windy|grey|sunny|hailing|stormy|mild|freezing|drizzling|humid"),
    "word": _list(
        "rhythm|liaison|queue|fuchsia|mischievous|accommodate|bouquet|colleague|embarrass|guarantee|questionnaire|"
        "restaurateur|separate|threshold"
    ),
    "year": tuple(str(year) for year in range(2026, 2039)),
    "past": tuple(str(year) for year in range(1978, 2016, 3)),
}

STATEMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "company.brand_core": _lines("""
        We always sound {voice} and {voice}, never like a {salesman}.
        As a company we stay {voice} in everything we publish, even when we have to apologise for {cause}.
        The words {banned} and {banned} are banned from all our copy, because they do not sound like us.
        Our whole identity rests on {value}, and {audience} know us for it.
        We stand in the market as the {voice} alternative for {audience}.
        Our logo stands on {colour} only, and our pictures show hands at work rather than {image}.
        Our company has spoken to {audience} like a {voice} neighbour since {past}.
        Our tagline is "{tagline}" and it belongs on every {carrier}.
        {value} and {value} are the two values that this company was founded on.
        Our house colour is {colour}, paired with {colour} for anything that {audience} see.
        We call our customers by their first names and our voice is {voice} and {voice}.
        Nothing that carries our name may show {image} or sound like a {salesman}.
    """),
    "company.strategic_signatures": _lines("""
        We never put money into {channel} before a trial in {region} has paid for itself.
        Whenever two options look equal on {gate}, our company takes the one that serves {audience} better.
        No campaign of ours ships until {team} signs it off and the {metric} forecast holds.
        Our rule is that a new channel gets {count} weeks, and if the {metric} has not moved by then we drop it.
        We would rather lose {audience} than discount the {product}, and that rule decides every promotion here.
        Any spending above {money} needs a written case with {gate} worked out, without exception.
        As a company we make reversible bets first and commit to {channel} only with proof from {region}.
        We publish no claim about the {product} without a source that {team} can show.
        Between {priority} and {metric} our firm always chooses {priority}.
        Every idea has to pass three gates in our company: {gate}, {gate} and {gate}.
        We stop any project that misses its {metric} threshold {count} times in a row.
        The company refuses every partner who cannot prove {value} and {value}.
    """),
    "company.knowledge_artifacts": _lines("""
        Our {doc} lives in {place}, and everybody writes from it.
        There is a {doc} about {topic}, version {count} of it is in {place}.
        The {doc} must be used for every {piece}, and {person} keeps it up to date.
        We have a detailed {doc} about {audience} in {place}.
        All our templates for the {piece} sit in {place} under the name {folder}.
        A {doc} for {topic} was published by {person} last year, and it is filed in {place}.
        Our research report on {audience} is kept in {place} together with the interview notes.
        The {doc} prescribes {count} steps for every {piece}.
        For {topic} there is a written procedure in {place}, next to our {doc}.
        We keep a collection of {piece} examples in {place}, sorted by {gate}.
        The new {doc} replaces the old one and can be found in {place}.
    """),
    "company.business_priorities": _lines("""
        Until the end of {month} everything here serves one goal, {n} percent more {audience}.
        We launch the {product} on {date}, and all our work goes towards that.
        For {quarter} our goal is {count} new partners in {region}.
        By {month} we must reach {money} in sales of the {product}.
        The {product} campaign on {channel} runs until {date}, and it comes before everything else.
        Our focus for {quarter} is {audience}, with a target of {number} sign-ups.
        From now until {date} the whole company concentrates on {region}.
        We are freezing all spending on {channel} until {month} so that the {product} launch gets the money.
        The aim for {quarter} is to lift our {metric} by {n} percent.
        Our big push before {date} is winning back {audience}.
        We have set ourselves {number} orders of the {product} as the target for {month}.
    """),
    "company.tools_config": _lines("""
        All our leads flow from {tool} into the {module} through a webhook, every {count} minutes.
        In {tool} our campaign names follow the pattern {naming}, all lower case.
        Our newsletters go out through {tool} since {month}, and the {module} feeds it the purchase data.
        Every link we post carries the tag {utm}, and {tool} reads it.
        Our {tool} account is set to assign a new contact to {team} after {count} clicks.
        We run {tool} for {channel} and the {module} for reporting.
        An automation in our {tool} mails everybody who leaves a basket after {count} hours.
        Our dashboard pulls its numbers from {tool} every night at {time}.
        The lead score in our {tool} is set so that anything above {n} goes straight to {team}.
        Our {module} and {tool} are synced both ways, with {field} as the key.
        We tag contacts from {region} as {tag} in {tool}.
    """),
    "company.performance_context": _lines("""
        Our {metric} came in {n} percent higher in {month} than the year before.
        The {product} campaign on {channel} brought {number} orders, our best result so far.
        We learned from the test in {month} that {audience} react to {hook} twice as often as to discounts.
        Last quarter {channel} brought in {n} percent of our revenue.
        The split test in {month} showed that {hook} lifted our {metric} by {n} percent.
        Measured over {count} weeks, our {metric} sits {n} percent above the industry average.
        Our {piece} test failed with {number} visits and only {count} sign-ups.
        Our cost per order on {channel} fell by {n} percent between {month} and {month}.
        In the retrospective on the {product} we saw that {n} percent of the buyers had come from {channel}.
        For us {channel} has converted at {n} percent since {month}, which is the baseline we compare with.
        Returns of the {product} ran at {n} percent in {month}, mostly because of {cause}.
    """),
    "user.communication_style": _lines("""
        Please always give me your answers in {format}, never longer than {number} words.
        I always want answers about {topic} in {format}, with the conclusion first.
        Write to me in {lang} from now on, whatever language {person} and I type in.
        At the end of every answer about {topic} I want {postscript}, today and in future.
        For me every reply should stay under {number} words and come without jargon, in {lang}.
        I read on a phone, so keep all your answers to {format} and under {number} words.
        Whenever you explain the {metric} to me, do it in {format} and round to whole percent.
        I prefer a {voice} and {voice} tone in everything you write to me, no emoji.
        As a standing rule, give me {depth} in answers about {topic} and leave theory out.
        Your answers to me should always be in {lang} and in {format}.
        I never want more than {count} bullets in an answer about {topic}.
    """),
    "user.strategic_approach": _lines("""
        I personally believe that {audience} buy from people they know, so {channel} comes last for me.
        For me a campaign for {audience} has succeeded when {outcome}, whatever the dashboards say.
        My own order is always {priority} before {priority}.
        Working for {audience} has made me believe that {belief}.
        Personally I begin every plan with {start} and only then look at {channel}.
        I judge my own work by whether {outcome}, not by {metric}.
        I put {priority} ahead of {metric} in every plan that I make.
        My conviction is that {channel} works only where {priority} is already there.
        I would always take {count} small experiments over one big bet on {channel}, that is my own creed.
        What matters most to me in my work is {priority}, because {belief}.
        I myself have never believed in {channel} for {audience}.
    """),
    "user.role_context": _lines("""
        I'm the {title} here, and I report to {person}, our {boss}.
        I've been the {title} for {count} months now.
        My team is {count} people, and I am responsible for {channel} and {topic}.
        I can approve anything up to {money} myself, above that {person} has to sign.
        Since {month} I have been in charge of {region} as {title}.
        My job as {title} covers {topic} and {topic}.
        I lead {count} freelancers and a trainee, and my title is {title}.
        I have the last word on {topic} here, but budgets belong to {person}.
        I took over as {title} from {person} in {month}.
        I answer to {person} for {topic} and to our {boss} for {channel}.
        I'm standing in as {title} until {person} comes back in {month}.
    """),
    "user.workflow_patterns": _lines("""
        Every {day} I go through the {metric} figures with {person}.
        I do my writing before {time} each day and keep the rest of it for {team}.
        Each {piece} I write goes to {person} first and then to {team}, always in that order.
        On the first of each month I sit down with {team} and plan {topic}.
        I start work at {time} on most days and keep {day} free of meetings, every week.
        {person} and I go over all my drafts on {day}, every week.
        My week always includes {routine} on {day}.
        I collect comments from {team} by {day} each week and revise the day after.
        Whatever I prepare for {channel} I hand over to {person} every {day}.
        I batch all my {channel} work into {day}, week after week.
        Twice a month {person} reads my {piece} drafts over lunch before {team} sees them.
    """),
    "user.session_history": _lines("""
        Yesterday we stopped at page {count} of the {piece}, and the rest is still to do.
        The {piece} is done up to the {part}, we pick up there tomorrow.
        {person} approved the {part} of the {piece} today, the images are still pending.
        For the {piece} we just settled on version {count}, I'll finish the {part} next.
        I have sent the {piece} to {person} and we go on with the {part} once the comments are back.
        Of the {big} mails for the {product} I have rewritten {count}, the others come next week.
        The {piece} draft is half finished, the {part} stands and the {part} is missing.
        Let's continue with the {piece} from {day}, where the {part} was left unfinished.
        This morning we cut the {part} from the {piece}, I still have to rework the {part}.
        The {piece} is with {team} until {day}, after that we go on with the {part}.
        I got through the {part} of the {piece} today, tomorrow we do the {part}.
    """),
    "user.interaction_preferences": _lines("""
        Always tell me when you think my {piece} or my {piece} is weak, I don't want to be spared.
        In future ask me {count} questions before you write anything about {topic}.
        From now on just act on {topic} and {topic}, no need to check with me first.
        Whenever I get {topic} or {topic} wrong, correct me straight away, in every chat.
        I want you to act as my {partner} for {topic} in all our chats, never as a yes-man.
        Never bring me a single {element}, always lay out {count} and say which you would choose.
        Please always point out risks around {topic}, even where I only ask about {topic}.
        When I'm stuck on a {piece}, coach me with {count} questions instead of writing it for me, every time.
        Skip the praise in general and challenge every {piece} and every {element} I bring you.
        As a rule, wait for my go-ahead before you change the {element} in a {piece}.
        I'd like you to suggest {count} next steps for {topic} unprompted, in every conversation.
        Please always verify the {metric} and every figure about {topic} before you show them to me.
    """),
    "customer.product_setup": _lines("""
        We run version {version} of the {module} on {os}.
        Our company is on the {plan} plan with {number} seats.
        We have connected the {module} to {tool} through the API.
        All our {count} offices use the {module}, hosted in {region}.
        Our machines are {os} behind a proxy, with {browser} on every desk.
        We use the {module} together with {tool}, both in the cloud version.
        On our side it is {browser}, {os} and the {plan} plan.
        We upgraded the {module} to {version} in {month} and host it on our own servers.
        Our {module} sits on {os}, with a database of {number} gigabytes.
        The {plan} subscription we have includes the {module} and {count} sandbox accounts.
    """),
    "customer.open_issue": _lines("""
        The {module} has been failing with error {code} since {day}, and a restart did not help.
        Since the update in {month} the {module} no longer shows our {thing}, and nothing we tried helped.
        Our {thing} still won't load, we already cleared the cache and tried {browser}.
        Exports from the {module} stop at {n} percent every time, we have tried {count} times.
        We still can't log in to the {module}, error {code} comes up since {day}.
        The sync with {tool} breaks off after {count} minutes, reinstalling changed nothing.
        Error {code} keeps coming back in the {module}, although we did everything that {person} said.
        Our {thing} have been missing since {day}, and the ticket is not solved.
        Printing from the {module} crashes on {os} since {month}, even after a reset.
        The {module} sends our {thing} twice, this has gone on since {day}.
    """),
    "customer.contact_preference": _lines("""
        Please reach me by {medium} or {medium} only, never before {time}.
        Calls are best for us on {day}, in {lang}.
        Write to us in {lang} and by {medium}, nobody here reads anything else.
        I never pick up the phone, so always use {medium} for updates, best after {time}.
        For anything urgent ring {person}, for the rest {medium} is fine.
        We would like all your messages in {lang} and by {medium}.
        Don't call us on {day} please, {medium} works at any hour.
        Send everything to our shared inbox {dept}, in {lang}.
        The best way to get hold of me is {medium}, after {time}.
        I'd rather be contacted by {medium} than by phone, and always in {lang}.
    """),
    "account.agreement": _lines("""
        Your colleague {person} promised us {n} percent off until {month}.
        We were promised a refund of {money} for {month}.
        It was settled with {person} that you answer within {count} hours on weekdays.
        Our contract commits you to an uptime of {uptime} percent for the {module}.
        {person} from your side confirmed that the {module} will be delivered by {date}.
        We settled on {money} a year for the {plan} plan, fixed until {year}.
        You granted us {count} months free because of the outage in {month}.
        {person} assured us in writing that the {plan} plan stays at the old price until {date}.
        The deal we made in {month} includes {count} training days at no charge.
        We accepted your offer of {n} percent credit on the {plan} plan.
    """),
    "account.decision_maker": _lines("""
        {person} in {team} signs every renewal on our side.
        Purchases above {money} have to go through our {boss}, {person}.
        I can't decide that, {person} from {team} has to be asked first.
        Your bills are paid by {team} here, and {person} releases them.
        Our {boss} decides on the {plan} plan, I only prepare the papers for {person}.
        It is {person} who chooses our software, together with {team}.
        Any change to the {module} needs a yes from {person}, our {boss}.
        The budget for the {module} sits with {team}, so {person} has the final say.
        For contracts you need {person}, who heads {team} here.
        Our works council has to approve the {module} before {person} can sign.
    """),
    "account.churn_risk": _lines("""
        If our {thing} don't work by {date}, we will cancel the {plan} plan.
        We are planning to leave you for {rival} in {month}.
        We'll only stay if you lower the price of the {plan} plan by {n} percent.
        Our contract ends in {month} and {person} does not intend to renew it.
        We have already asked {rival} for an offer and will switch unless the {module} improves.
        Another outage like the one in {month} and we move to {rival}.
        {person} wants us off the {plan} plan before {date}.
        We stay with you only on condition that the {module} gets {feature}.
        To be honest we are about to move our {count} offices to {rival}.
        Unless support for the {module} gets faster by {month}, we quit.
    """),
}

LOOKALIKES: Final[Mapping[str, tuple[str, ...]]] = {
    "company.brand_core": _lines("""
        Would a {voice} voice suit a firm that sells to {audience}?
        A competitor of ours calls itself {voice} and prints "{tagline}" on every {carrier}.
        We could go for {colour} one day, but that is only a thought.
    """),
    "company.strategic_signatures": _lines("""
        How do other firms decide whether {channel} is worth {money}?
        A rival never spends on {channel} before a trial in {region}, or so {person} heard.
        Suppose one had to choose between {gate} and {gate}, what would you look at?
    """),
    "company.knowledge_artifacts": _lines("""
        Does anybody still use a {doc} these days?
        A former client kept a {doc} in {place}.
        What would usually go into a {doc} for {topic}?
    """),
    "company.business_priorities": _lines("""
        When do most firms launch a {product}, in {month} or later?
        A competitor announced a {product} for {month}, according to the papers.
        Something big may come in {month}, nothing I can talk about.
    """),
    "company.tools_config": _lines("""
        Can {tool} be connected to a {module} at all?
        An agency I know uses {tool} for {channel}.
        What does {tool} cost for {number} contacts?
    """),
    "company.performance_context": _lines("""
        Is {n} percent a good {metric} for {channel}?
        Some magazine wrote that {channel} converts at {n} percent for {audience}.
        What happens to the {metric} if one sends {count} mails a week?
    """),
    "user.communication_style": _lines("""
        Could you put this one answer into {format}?
        {person} likes to get everything in {format}, I hear.
        How would this read in {lang}?
    """),
    "user.strategic_approach": _lines("""
        Is it true that {belief}?
        Some author claims that {belief}, no idea whether that holds.
        What do people mean when they put {priority} before {priority}?
    """),
    "user.role_context": _lines("""
        What does a {title} earn in {region}?
        {person} used to be a {title} somewhere in {region}.
        What is the difference between a {title} and a {title}?
    """),
    "user.workflow_patterns": _lines("""
        Are {day} meetings a good idea in general?
        {person} is out on {day} this week, so the call is off.
        How often do other teams review a {piece}?
    """),
    "user.session_history": _lines("""
        How long does a {piece} normally take?
        A finished {piece} of {person}'s is on the wall in the hallway.
        Where do people usually put the {part} in a {piece}?
    """),
    "user.interaction_preferences": _lines("""
        Are you able to play a {partner} if somebody wants that?
        {person} thinks that assistants should work like a {partner}.
        Could you ask one question about {topic} before this answer?
    """),
    "customer.product_setup": _lines("""
        Does the {module} run on {os}?
        A friend's firm runs the {module} on {os}.
        What is included in the {plan} plan?
    """),
    "customer.open_issue": _lines("""
        What does error {code} mean in the {module}?
        Another customer wrote in a forum that the {module} loses {thing}.
        What should one do if {thing} ever went missing?
    """),
    "customer.contact_preference": _lines("""
        Can your team be reached by {medium} as well?
        Is there somebody on {day} who speaks {lang}?
        My former employer wanted everything by {medium}.
    """),
    "account.agreement": _lines("""
        Do you give {n} percent off for schools?
        A neighbour was offered {count} free months of the {plan} plan by somebody.
        How much would the {plan} plan be for {number} people?
    """),
    "account.decision_maker": _lines("""
        Who normally signs for a {module} in a firm like that?
        At my former employer the {boss} chose every program.
        Is {person} from your sales team still around?
    """),
    "account.churn_risk": _lines("""
        How does one cancel the {plan} plan in theory?
        A partner of ours left you for {rival}, I read.
        What would happen to the {thing} if somebody left?
    """),
}

_USER: Final = _lines("""
    Could you {verb} the {element} a little?
    What would a {voice} {element} look like?
    How do you spell {word}?
    What is {n} percent of {number}?
    It is {weather} outside and the lift is broken again.
    The train was {count} minutes late this morning, so bear with me.
    There was {food} in the canteen today, which cheered everybody up.
    Which of the {count} variants reads better to you?
    Please {verb} the {element} and leave the {element} alone.
    Does the {element} sound too {voice}?
    Is there a shorter word for {word}?
    Maybe the {element} could come before the {element}.
    Not sure about the {element}.
    Try it once more with a {voice} {element}.
    What rhymes with {word}?
    How many days are there between {date} and {date}?
    Next, the {element}.
    And the {element}?
    Fine, {verb} the {element}.
    Hmm, too {voice}.
    And in {lang}?
    What about {word}?
    Then {verb} it, please.
    Is {word} one word?
    Somebody in the hallway is humming again, and it is {weather} too.
    What is the capital of {region}, if it has one?
    Convert {money} into another currency for me, roughly.
    My neighbour's cat looked in through the window while it was {weather}.
    Could the {element} end with a question?
    I wonder whether the {element} needs the word {word} at all.
    Give me another word for {voice}, please.
    That {element} made me laugh, {person} would like it too.
    What comes to mind when you hear {word} and {food} together?
    Can you guess why {person} ordered {food} twice?
    Two people asked me about {word} today, and one of them spelled it wrong.
    Please translate {word} into {lang}.
    Does {lang} have a word for {word}?
    Swap the {element} and the {element}, then read it aloud.
    It was {weather} all weekend, so we ate {food} indoors.
    If the {element} gets too long, {verb} it.
    The font in the {element} looks odd on this screen.
    How would you explain {word} to a child of {count}?
    Was {past} a leap year?
    Somehow the {element} lost its last word when I copied it.
    Pick the {voice} one, it will do.
    Is a {voice} {element} always a bad thing?
    There is {food} on my keyboard now, one moment.
    Make it {voice}, but not too {voice}.
    Which {element} would {person} laugh about?
    What time is it in {region} when it is {time} here?
    I can't see the {element} in what you sent.
    Take the comma out of the {element}.
    I would call that {voice}, wouldn't you?
    That joke about {food} was terrible, and the one about {word} as well.
    Should {word} have a capital letter in the {element}?
    Count the letters in {word} and in {word}.
    One more try at the {element}, then we let it rest.
    Does anybody really eat {food} when it is {weather}?
    Good, now {verb} the {element}.
    What would the {element} be without {word}?
    The radio says it will be {weather} by {time}.
    Add up {number}, {number} and {n} for me.
    Roughly how far is it from {region} to {region}?
    Okay, the {element} can stay {voice}.
    Read the {element} backwards and tell me whether {word} stands out.
""")

_ASSISTANT: Final = _lines("""
    Here is a {voice} version of the {element}.
    Shall I {verb} the {element} as well?
    Done, the {element} is {voice} now.
    I would {verb} the {element} and keep the {element}.
    There are {count} ways to do that, and the {voice} one is the quickest.
    One could {verb} the {element} first.
    That depends on the {element}.
    Sure, a {voice} one.
    Which {element} do you mean?
    The {element} again?
    Noted, the {element}.
    Try {word} instead.
    Like this, {voice}?
    Then {word} it is.
    A {voice} one, then.
    The {element} reads a bit {voice}, but that can be changed.
    In {lang} it would take {count} words, in {lang} a few more.
    The word {word} is often misspelled, and yours is right.
    If you like, the {element} can end with {word}.
    My suggestion would be to {verb} the {element} and to look at the {element} afterwards.
    That comes to about {number}, give or take {n}.
    I moved the {element} up, so it comes before the {element}.
    Both work, though the {voice} {element} is easier to read aloud.
    Here are {count} alternatives for {word}, from {voice} to {voice}.
    The {element} has {n} words now, which is less than before.
    A {voice} {element} often helps readers to find the {element}.
    I left the {element} as it was and only touched the {element}.
    Would {word} be better in the {element}?
    Let me {verb} the {element} once more.
    {food} sounds nice when it is {weather}.
    It may be {weather} there, but the {element} looks fine.
    Good question, {word} comes from an older word for something {voice}.
    Between {date} and {date} there are quite a few weeks, shall I count the days?
    I took out {count} commas and one {word}.
    People in {region} would probably say it in a more {voice} way.
    The {element} could carry the joke, the {element} should stay {voice}.
    As a rough figure, {money} is close enough.
    Nothing rhymes well with {word}, I am afraid.
    What should the {element} say instead?
    Here it is, {count} lines and {voice} throughout.
    The {voice} variant wins by a small margin, mostly because of its {element}.
    Do you want to keep {word} in the {element}?
    Swapping them makes the {element} clearer and the {element} a little {voice}.
    Right, I will {verb} it.
    Only the {element} changed, everything else is as {voice} as before.
    I count {count} letters, but please check {word} yourself.
    A child of {count} would ask what {word} has to do with {food}.
    Should I go on with the {element}?
    The comma is gone, and the {element} got {voice}.
    It is one word in {lang} and two in {lang}.
    Perhaps a {voice} {element} and a {voice} {element} balance each other.
    By the clock in {region} it should be about {time}.
    I can {verb} either the {element} or the {element}, but not both at once.
    Understood, a {voice} {element} and nothing about {food}.
    The {element} would be empty without {word}.
    For the {element}, {word} is spelled in small letters.
    Then I leave the {element} alone and {verb} only the {element}.
    That sounds {voice} to me, with or without {word}.
    {person} may laugh, but the {element} is correct.
    The difference is {n}, if the {element} has the right figures.
""")

_SLOT: Final = re.compile(r"\{(\w+)\}")
_END: Final = re.compile(r"(?<=[.!?])\s+")


@cache
def _parts(template: str) -> tuple[str, ...]:
    return tuple(_SLOT.split(template))


@cache
def _length(template: str) -> float:
    """How many words a template has on average."""
    slots = _parts(template)[1::2]
    filled = sum(sum(len(value.split()) for value in SLOTS[slot]) / len(SLOTS[slot]) for slot in slots)
    return len(template.split()) - len(slots) + filled


def render(template: str, rng: random.Random) -> str:
    """A template with its slots filled; a slot that occurs twice gets two values."""
    taken: set[str] = set()
    parts = list(_parts(template))
    for i in range(1, len(parts), 2):
        while (value := rng.choice(SLOTS[parts[i]])) in taken:
            pass
        taken.add(value)
        parts[i] = value
    text = "".join(parts)
    return text[0].upper() + text[1:]


def words_of(messages: Iterable[Mapping[str, str]]) -> int:
    """How many words a conversation has."""
    return sum(len(message["content"].split()) for message in messages)


def _shuffled(templates: Iterable[str], rng: random.Random) -> list[str]:
    found = list(templates)
    rng.shuffle(found)
    return found


def _fitting(pool: list[str], room: float) -> str:
    """Take a template out of a shuffled pool: one that fills most of the room, or else the shortest of a few."""
    few = pool[-8:]
    fitting = [template for template in few if 0.5 * room <= _length(template) <= room]
    chosen = fitting[-1] if fitting else min(few, key=lambda t: (_length(t) > room, abs(_length(t) - room)))
    pool.remove(chosen)
    return chosen


def write(
    rng: random.Random, names: Sequence[str], turns: int, words: int, lookalikes: Sequence[str] = ()
) -> list[Message]:
    """A conversation of about so many words which states these categories, each in a user turn, and no other.

    `lookalikes` are categories which may be touched without being stated.
    """
    first = 0 if turns % 2 or rng.random() < 0.5 else 1
    of_user = [i for i in range(turns) if i % 2 == first]
    said: list[list[str]] = [[] for _ in range(turns)]
    pools = {
        True: _shuffled([*_USER, *(t for name in lookalikes for t in LOOKALIKES[name])], rng),
        False: _shuffled(_ASSISTANT, rng),
    }

    def total() -> int:
        return sum(len(sentence.split()) for sentence in itertools.chain(*said))

    # The empty turns need some four words each; what statements may take is the rest.
    room = (1.1 * words - 4 * max(0, turns - len(names))) / max(1, len(names))
    for name, place in zip(names, _shuffled_places(of_user, len(names), rng), strict=True):
        said[place].append(render(_fitting(_shuffled(STATEMENTS[name], rng), max(8.0, room)), rng))
    empty = [i for i in range(turns) if not said[i]]
    for done, i in enumerate(empty):
        room = (words - total()) / (len(empty) - done)
        said[i].append(render(_fitting(pools[i in of_user], room * rng.uniform(0.6, 1.2)), rng))
    while (room := words - total()) > max(3.0, 0.08 * words):
        i = min(range(turns), key=lambda i: len(" ".join(said[i])) * rng.uniform(0.5, 1.5))
        pool = pools[i in of_user]
        if len(pool) < 8:
            pool += _shuffled(_USER if i in of_user else _ASSISTANT, rng)
        said[i].append(render(_fitting(pool, min(room + 2, 18.0)), rng))
    for sentences_ in said:
        rng.shuffle(sentences_)
    return [{"role": "user" if i in of_user else "assistant", "content": " ".join(said[i])} for i in range(turns)]


def _shuffled_places(places: Sequence[int], count: int, rng: random.Random) -> list[int]:
    """So many of the places: each once before any comes twice."""
    found: list[int] = []
    while len(found) < count:
        found += rng.sample(places, len(places))
    return found[:count]


def sentences(text: str) -> list[str]:
    """The sentences of a text."""
    return _END.split(" ".join(text.split()))


@cache
def reader(names: tuple[str, ...]) -> re.Pattern[str]:
    """What matches a sentence that states one of these categories; the group that matched is its place in `names`."""
    groups = [f"(?P<c{i}>{'|'.join(map(_pattern, STATEMENTS[name]))})" for i, name in enumerate(names)]
    return re.compile("|".join(groups), re.IGNORECASE)


def _pattern(template: str) -> str:
    parts = [re.escape(part) for part in _parts(template)]
    for i, slot in enumerate(_parts(template)[1::2]):
        parts[2 * i + 1] = f"(?:{'|'.join(map(re.escape, SLOTS[slot]))})"
    return "".join(parts)


def recognised(names: tuple[str, ...], text: str) -> set[str]:
    """Which of the categories a text states."""
    pattern = reader(names)
    found = (pattern.fullmatch(sentence) for sentence in sentences(text))
    return {names[int(match.lastgroup[1:])] for match in found if match and match.lastgroup}
